//! What each peer is told: the fixed part of the comparison.
//!
//! In:    the way in, the port to listen at, the sink's ports, a directory.
//! Out:   the command that starts the peer, its configuration written beside it.
//! Never: gives one peer what another lacks, where both can have it: the same certificate, TLS 1.2 and 1.3, one worker.
//!
//! HAProxy in TCP mode with one thread, nginx's mail proxy with one worker and 16 KiB buffers, gatepost with rules
//! and metrics on. TLS is for the client; towards the sink everything is plain.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::entry::Entry;
use crate::peers::{Kind, Place, command, free_port};
use crate::sink::Sink;

/// What a configuration is made of.
pub struct Setting<'a> {
    pub entry: Entry,
    pub place: &'a Place,
    pub directory: &'a Path,
    pub port: u16,
    pub sink: &'a Sink,
}

impl Setting<'_> {
    pub fn haproxy(&self) -> io::Result<Command> {
        let file = self.directory.join("haproxy.cfg");
        let mut ssl = String::new();
        if let Some(pair) = self.place.certificates.of(self.entry) {
            // It wants the chain and the key in one file.
            let both = self.directory.join("pair.pem");
            fs::write(&both, [fs::read(&pair.certificate)?, fs::read(&pair.key)?].concat())?;
            ssl = format!(" ssl crt {} ssl-min-ver TLSv1.2", both.display());
        }
        let text = format!(
            "global\n  nbthread 1\n  maxconn {sessions}\ndefaults\n  mode tcp\n  maxconn {sessions}\n  timeout connect 5s\n  \
             timeout client 10m\n  timeout server 10m\nlisten smtp\n  bind 127.0.0.1:{}{ssl}\n  \
             server sink 127.0.0.1:{}\n",
            self.port,
            self.sink.smtp_port,
            sessions = self.place.sessions,
        );
        fs::write(&file, text)?;
        let mut command = command(Path::new("haproxy"));
        command.arg("-db").arg("-f").arg(file);
        Ok(command)
    }

    pub fn relay(&self) -> io::Result<Command> {
        let mut command = command(&std::env::current_exe()?);
        command.args(["--bench", "--relay"]).arg(self.port.to_string()).arg(self.sink.smtp_port.to_string());
        Ok(command)
    }

    pub fn nginx(&self) -> io::Result<Command> {
        const MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";
        let file = self.directory.join("nginx.conf");
        let module =
            if Path::new(MODULE).exists() { format!("load_module {MODULE};\n") } else { String::new() };
        let at_once = if self.entry.is_tls_at_once() { " ssl" } else { "" };
        let mut ssl = String::new();
        if let Some(pair) = self.place.certificates.of(self.entry) {
            let starttls = if at_once.is_empty() { "starttls on; " } else { "" };
            ssl = format!(
                " {starttls}ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;",
                pair.certificate.display(),
                pair.key.display()
            );
        }
        let text = format!(
            "{module}worker_processes 1;\ndaemon off;\npid nginx.pid;\nerror_log error.log;\n\
             events {{ worker_connections {}; }}\n\
             mail {{\n  server_name proxy.test;\n  auth_http 127.0.0.1:{}/;\n  timeout 10m;\n  proxy_timeout 10m;\n  \
             proxy_pass_error_message on;\n  proxy_buffer 16k;\n  smtp_client_buffer 16k;\n  smtp_auth none;\n  xclient off;\n  \
             smtp_capabilities PIPELINING \"SIZE 104857600\" 8BITMIME CHUNKING ENHANCEDSTATUSCODES;\n  \
             server {{ listen 127.0.0.1:{}{at_once} backlog=4096; protocol smtp;{ssl} }}\n}}\n",
            2 * self.place.sessions + 100,
            self.sink.auth_port,
            self.port,
        );
        fs::write(&file, text)?;
        let mut command = command(Path::new("nginx"));
        command.arg("-p").arg(self.directory).arg("-c").arg(file).args(["-e", "error.log"]);
        Ok(command)
    }

    pub fn gatepost(&self, kind: Kind) -> io::Result<Command> {
        let file = self.directory.join("proxy.yaml");
        let workers = if kind == Kind::GatepostAll { "" } else { "workers: 1\n" };
        // Rules at three stages that are asked for every message and never match.
        let rules = if kind == Kind::GatepostBare {
            ""
        } else {
            "rules:\n  \
             - { name: lab, stages: mail, match: { client: 192.0.2.0/24, sender: \"*@lab.example\" }, do: { reply: \"550 5.7.1 Use the submission service\" } }\n  \
             - { name: moved, stages: rcpt, match: { recipient: \"*@old.example\" }, do: { rewrite: { recipient: \"{local}@new.example\" } } }\n  \
             - { name: gone, stages: rcpt, match: { recipient: \"gone@example.com\" }, do: { reply: \"550 5.1.1 No such mailbox\" } }\n  \
             - { name: name, stages: helo, match: { helo: \"*.invalid\" }, do: { reply: \"550 5.7.1 Not with that name\" } }\n"
        };
        let mut tls = String::new();
        if let Some(pair) = self.place.certificates.of(self.entry) {
            let mode = if self.entry.is_tls_at_once() { "implicit" } else { "starttls" };
            tls = format!(
                ", tls: {{ mode: {mode}, certificate: \"{}\", key: \"{}\" }}",
                pair.certificate.display(),
                pair.key.display()
            );
        }
        let text = format!(
            "hostname: proxy.test\nlisteners:\n  - {{ address: \"127.0.0.1:{}\", upstream: main{tls} }}\n\
             upstreams:\n  main: {{ hosts: [\"127.0.0.1:{}\"] }}\n\
             limits: {{ sessions: {sessions}, sessions_per_client: {sessions}, exempt: [127.0.0.0/8] }}\n\
             admin: {{ address: \"127.0.0.1:{}\" }}\nlog: {{ level: warn }}\n{workers}{rules}",
            self.port,
            self.sink.smtp_port,
            free_port()?,
            sessions = self.place.sessions,
        );
        fs::write(&file, text)?;
        let mut command = command(self.place.program(kind));
        command.arg("run").arg("--config").arg(file);
        Ok(command)
    }
}
