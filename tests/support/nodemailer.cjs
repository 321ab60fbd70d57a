// Sends by Nodemailer: node send.cjs NODEMAILER FILE HOST PORT OPTIONS LINES, the last two being JavaScript.
const [library, file, host, port, options, lines] = process.argv.slice(2);
const raw = require("fs").readFileSync(file);
const transport = require(library).createTransport({
  host, port: Number(port), name: "client.example", secure: false, ignoreTLS: true,
  connectionTimeout: 15000, greetingTimeout: 15000, socketTimeout: 15000,
  ...eval(`(${options})`),
});
const send = async (message) => {
  try {
    const sent = await transport.sendMail({ raw, ...message });
    console.log(JSON.stringify([sent.accepted, sent.rejected]));
    console.log(sent.response);
  } catch (error) {
    console.log(error.code, error.command, error.response);
  }
};
const AsyncFunction = send.constructor;
new AsyncFunction("send", lines)(send).finally(() => transport.close());
