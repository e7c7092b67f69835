/**
 * The connection of one terminal, as the gateway speaks with pages: bytes of the terminal in binary messages, and in
 * texts what is said about it. The token goes in the first message, so that it stands in no address and no log.
 */

export type Heard = {
  /** The session is there; so many bytes come next of what was shown before. */
  opened: (replay: number) => void;
  bytes: (bytes: Uint8Array) => void;
  /** Whether the node is there. */
  state: (connected: boolean) => void;
  /** How large the terminal of who drives is. */
  size: (cols: number, rows: number) => void;
  /** The session is over. */
  ended: (reason: string) => void;
  /** The connection is gone, the session may be not. */
  lost: () => void;
};

export type Link = {
  send: (text: string) => void;
  sendBytes: (bytes: Uint8Array) => void;
  size: (cols: number, rows: number) => void;
  close: () => void;
};

/** What lets one connection in, once. */
export type Ticket = { sessionId: string; token: string };

const address = () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ph/v1/sessions/terminal`;
const encoder = new TextEncoder();

export function open({ sessionId, token }: Ticket, cols: number, rows: number, heard: Heard): Link {
  const socket = new WebSocket(address());
  socket.binaryType = "arraybuffer";
  let over = false;
  const sendBytes = (bytes: Uint8Array) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(bytes as Uint8Array<ArrayBuffer>);
  };
  const say = (message: object) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
  socket.onopen = () => say({ type: "open", sessionId, token, cols, rows });
  socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
    if (typeof data !== "string") return heard.bytes(new Uint8Array(data));
    const said = JSON.parse(data);
    if (said.type === "opened") heard.opened(Number(said.replay ?? 0));
    else if (said.type === "state") heard.state(said.status === "connected");
    else if (said.type === "size") heard.size(Number(said.cols), Number(said.rows));
    else if (said.type === "exit") {
      over = true;
      heard.ended(String(said.reason ?? ""));
    }
  };
  socket.onclose = () => {
    if (!over) heard.lost();
    over = true;
  };
  return {
    send: (text) => sendBytes(encoder.encode(text)),
    sendBytes,
    size: (cols, rows) => say({ type: "size", cols, rows }),
    close: () => {
      over = true;
      socket.close();
    },
  };
}
