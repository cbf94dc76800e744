import { readFileSync, writeFileSync } from "node:fs";

export type Recording = { sampleRate: number; samples: Buffer };

/** The samples of a WAV file, which is a list of chunks: a name, a size, and as many bytes. */
export function readWav(path: string): Recording {
  const file = readFileSync(path);
  let sampleRate = 0;
  if (file.toString("latin1", 0, 4) === "RIFF") {
    for (let at = 12; at + 24 <= file.length; at += 8 + file.readUInt32LE(at + 4)) {
      const name = file.toString("latin1", at, at + 4);
      const [format, channels, bits] = [8, 10, 22].map((place) => file.readUInt16LE(at + place));
      if (name === "fmt " && format === 1 && channels === 1 && bits === 16) sampleRate = file.readUInt32LE(at + 12);
      if (name === "data" && sampleRate > 0)
        return { sampleRate, samples: file.subarray(at + 8, at + 8 + file.readUInt32LE(at + 4)) };
    }
  }
  throw new Error(`${path} is not a WAV file of 16 bit mono`);
}

export function writeWav(path: string, { sampleRate, samples }: Recording) {
  const head = Buffer.from("RIFF....WAVEfmt ....................data....", "latin1");
  head.writeUInt32LE(36 + samples.length, 4);
  head.writeUInt32LE(16, 16); // of the format: PCM, mono, samples and bytes a second, bytes and bits of a sample
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(sampleRate, 24);
  head.writeUInt32LE(2 * sampleRate, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.writeUInt32LE(samples.length, 40);
  writeFileSync(path, Buffer.concat([head, samples]));
}
