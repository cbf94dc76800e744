// A session of the OpenAI Realtime API over a WebSocket; see docs/realtime.md for the events that begin with "parley.".

import { Gathering } from "./gathering.js";
import { toBase64 } from "./sound.js";

/** Where callers need one: the address of the page ends in #token=…, which a browser sends to nobody. */
export const token = new URLSearchParams(location.hash.slice(1)).get("token");

/** Calls `handlers[type]` for each event; `handlers.closed` at the end. */
export class Session {
  #socket;
  #gathering = new Gathering();

  constructor(handlers) {
    const url = new URL("v1/realtime?parley_events=true", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    this.#socket = new WebSocket(url, token ? ["realtime", `openai-insecure-api-key.${token}`] : ["realtime"]);
    this.#socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      this.#gathering.see(event);
      handlers[event.type]?.(event);
    };
    this.#socket.onclose = ({ code }) => handlers.closed(code);
  }

  send(type, fields = {}) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type, ...fields }));
  }

  /** Sends 20 ms of the microphone's samples (Int16Array); while nobody speaks, with those that follow. */
  sendAudio(frame) {
    const samples = this.#gathering.add(frame);
    if (samples) this.send("input_audio_buffer.append", { audio: toBase64(samples) });
  }

  close() {
    this.#socket.close();
  }
}
