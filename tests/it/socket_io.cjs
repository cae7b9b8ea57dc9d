// The real client of the editor's sockets, driven by one JSON argument. Prints what happened to it, one JSON line each.
"use strict";
const { io } = require(process.env.SOCKET_IO_CLIENT);
const asked = JSON.parse(process.argv[2]);
const say = (event, data) => console.log(JSON.stringify({ event, ...data }));
const socket = io(asked.url, {
  path: asked.path,
  transports: asked.transports,
  auth: asked.auth,
  query: { shardkey: asked.shardkey },
  extraHeaders: { Origin: "https://localhost" },
  rejectUnauthorized: false,
  reconnectionDelay: 50,
  reconnectionDelayMax: 100,
});
const transport = () => socket.io.engine && socket.io.engine.transport && socket.io.engine.transport.name;
socket.io.on("reconnect_attempt", () => {
  say("attempt", {});
  if (asked.again) socket.auth = asked.again;
});
socket.on("connect", () => {
  say("connect", { transport: transport() });
  socket.io.engine.once("upgrade", () => say("upgrade", { transport: transport() }));
  if (asked.large) socket.emit("message", { type: "clientLog", msg: "x".repeat(asked.large) });
});
socket.on("message", (data) => say("message", { type: data.type }));
socket.on("connect_error", (error) => say("connect_error", { message: error.message, data: error.data }));
socket.io.on("ping", () => say("ping", {}));
socket.on("disconnect", (reason) => say("disconnect", { reason }));
if (asked.last) setTimeout(() => socket.emit("message", { type: "clientLog", msg: asked.last }), asked.milliseconds - 500);
setTimeout(() => {
  say("end", { connected: socket.connected, transport: transport() });
  process.exit(0);
}, asked.milliseconds);
