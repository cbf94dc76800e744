// Runs on the audio thread: the microphone's samples out in frames, the speech in from a queue without a gap.

const FRAME_S = 0.02;

class Microphone extends AudioWorkletProcessor {
  #frame = new Int16Array(Math.round(sampleRate * FRAME_S));
  #filled = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.#frame[this.#filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.#filled === this.#frame.length) {
        this.port.postMessage(this.#frame.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

class Speaker extends AudioWorkletProcessor {
  #queue = [];
  #at = 0;
  #played = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data === "stop") this.#queue = [];
      else this.#queue.push(data);
    };
  }

  process(_, [[channel]]) {
    const before = this.#played;
    for (let place = 0; place < channel.length && this.#queue.length; place++) {
      const chunk = this.#queue[0];
      channel[place] = chunk[this.#at++];
      this.#played++;
      if (this.#at >= chunk.length) {
        this.#queue.shift();
        this.#at = 0;
      }
    }
    if (!this.#queue.length) this.#at = 0;
    if (this.#played !== before) this.port.postMessage(this.#played);
    return true;
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("speaker", Speaker);
