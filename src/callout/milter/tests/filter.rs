//! A filter that says to each command what it is told to, else that it goes on, and remembers what it was told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::callout::milter::MilterClient;
use crate::callout::milter::frame::{first, put};
use crate::config;
use crate::config::types::CalloutKind;

/// What is said to a command.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    Packet(u8, &'static [u8]),
    Octets(&'static [u8]),
    /// These, and the connection ends.
    End(&'static [u8]),
    /// That it goes on, and when that was taken, these.
    Later(&'static [u8]),
}

/// All options, nothing left out.
const PLAIN: [u8; 12] = *b"\0\0\0\x06\0\0\0\xff\0\0\0\0";

/// A filter.
pub struct Filter {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Once each, in order.
    says: Mutex<VecDeque<(char, Says)>>,
    told: Mutex<Vec<(u8, Vec<u8>)>>,
    has_said_more: Notify,
    ended: Notify,
    /// Connections that are there.
    open: Mutex<usize>,
}

impl Filter {
    pub async fn start(says: impl IntoIterator<Item = (char, Says)>) -> Self {
        Self::with_options(PLAIN, says).await
    }

    /// One that wants these.
    pub async fn with_options(options: [u8; 12], says: impl IntoIterator<Item = (char, Says)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Mutex::new(says.into_iter().collect());
        let state = Arc::new(State { says, ..State::default() });
        let filter = Self { port, state: Arc::clone(&state) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *state.open.lock().unwrap() += 1;
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    state.serve(stream, options).await;
                    *state.open.lock().unwrap() -= 1;
                    state.ended.notify_one();
                });
            }
        });
        filter
    }

    /// A callout that asks it; `keys`: more of its configuration.
    pub fn client(&self, keys: &str) -> MilterClient {
        client(&[self.port], keys)
    }

    /// One that asks it or one of those.
    pub fn client_of(&self, others: &[&Self]) -> MilterClient {
        let others = others.iter().map(|filter| filter.port);
        client(&[self.port].into_iter().chain(others).collect::<Vec<_>>(), "")
    }

    /// The codes of what it was told, when all connections have ended.
    pub async fn told(&self) -> String {
        while *self.state.open.lock().unwrap() > 0 {
            timeout(Duration::from_secs(10), self.state.ended.notified())
                .await
                .expect("the end of a connection");
        }
        let told = self.state.told.lock().unwrap();
        let codes =
            told.iter().filter(|(code, _)| *code != b'D').map(|(code, _)| char::from(*code).to_string());
        codes.collect::<Vec<_>>().join(" ")
    }

    /// What it was told by these codes, in words.
    pub fn data(&self, codes: &str) -> Vec<String> {
        let told = self.state.told.lock().unwrap();
        let those = told.iter().filter(|(code, _)| codes.contains(char::from(*code)));
        those.map(|(_, data)| String::from_utf8_lossy(data).into_owned()).collect()
    }

    pub fn macros(&self) -> Vec<String> {
        let said = self.data("D");
        let pairs = |data: &String| {
            let strings: Vec<&str> = data[1..].trim_end_matches('\0').split('\0').collect();
            let pairs: Vec<String> = strings.chunks(2).map(|pair| pair.join("=")).collect();
            format!("{}{}", &data[..1], pairs.join(" "))
        };
        said.iter().map(pairs).collect()
    }

    pub async fn has_said_more(&self) {
        timeout(Duration::from_secs(10), self.state.has_said_more.notified()).await.expect("more");
    }
}

fn client(ports: &[u16], keys: &str) -> MilterClient {
    let addresses: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let yaml = format!(
        "upstreams: {{ main: {{ hosts: [\"192.0.2.1\"] }} }}\n\
         callouts: [{{ name: filter, type: milter, address: [{}]{keys} }}]\n",
        addresses.join(", ")
    );
    let config = config::load_text("proxy.yaml", &yaml, []).unwrap().config;
    let callout = &config.callouts[0];
    let CalloutKind::Milter(milter) = &callout.kind else { panic!("{callout:?}") };
    MilterClient::new(callout, milter, &config.dns)
}

impl State {
    async fn serve(&self, mut stream: TcpStream, options: [u8; 12]) {
        let mut heard = Vec::new();
        loop {
            while let Some((frame, length)) = first(&heard, usize::MAX - 1).unwrap() {
                let (code, data) = (frame.code, frame.data.to_vec());
                heard.drain(..length);
                self.told.lock().unwrap().push((code, data));
                if !self.answer(&mut stream, code, options).await {
                    return;
                }
            }
            if stream.read_buf(&mut heard).await.unwrap_or_default() == 0 {
                return;
            }
        }
    }

    async fn answer(&self, stream: &mut TcpStream, code: u8, options: [u8; 12]) -> bool {
        let mut packet = Vec::new();
        let steps = u32::from_be_bytes([options[8], options[9], options[10], options[11]]);
        let silent = |bit: u32| steps & bit != 0;
        match code {
            b'O' => {
                put(&mut packet, b'O', &[&options]);
                stream.write_all(&packet).await.unwrap();
                return true;
            }
            b'D' | b'A' => return true,
            b'Q' => return false,
            b'M' if silent(0x4000) => return true,
            b'R' if silent(0x8000) => return true,
            _ => {}
        }
        loop {
            let next = {
                let mut says = self.says.lock().unwrap();
                let is_next = says.front().is_some_and(|(at, _)| *at == char::from(code));
                if is_next { says.pop_front() } else { None }
            };
            match next.map(|(_, says)| says) {
                None => put(&mut packet, b'c', &[]),
                Some(Says::Packet(code, data)) => put(&mut packet, code, &[data]),
                Some(Says::Octets(octets)) => packet.extend_from_slice(octets),
                Some(Says::End(octets)) => {
                    stream.write_all(octets).await.unwrap();
                    let _ = stream.shutdown().await;
                    self.has_said_more.notify_one();
                    return false;
                }
                Some(Says::Later(octets)) => {
                    stream.write_all(b"\0\0\0\x01c").await.unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    stream.write_all(octets).await.unwrap();
                    self.has_said_more.notify_one();
                    return true;
                }
            }
            // Changes come before the answer.
            let is_change = packet.get(4).is_some_and(|code| b"hi+-m2eqbp".contains(code)) && code == b'E';
            stream.write_all(&packet).await.unwrap();
            if !is_change {
                return true;
            }
            packet.clear();
        }
    }
}
