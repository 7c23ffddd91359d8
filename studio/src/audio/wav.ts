/** Decoded audio as a 16-bit WAV file. */

export function encodeWav(buffer: AudioBuffer): Blob {
  const { numberOfChannels: channels, length, sampleRate } = buffer;
  const view = new DataView(new ArrayBuffer(44 + 2 * channels * length));
  const text = (offset: number, value: string) => {
    for (const [i, char] of [...value].entries()) {
      view.setUint8(offset + i, char.charCodeAt(0));
    }
  };
  text(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * channels * sampleRate, true);
  view.setUint16(32, 2 * channels, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, view.byteLength - 44, true);
  for (let channel = 0; channel < channels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (const [frame, sample] of samples.entries()) {
      const level = Math.round(Math.max(-1, Math.min(sample, 32_767 / 32_768)) * 32_768);
      view.setInt16(44 + 2 * (frame * channels + channel), level, true);
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
