// Records what reaches the audio output: every node that is connected to a destination is also connected to a recorder.
// A context resumes only once its recorder is ready, so that no sample is missed.
(() => {
  const PROCESSOR = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    constructor() { super(); this.blocks = []; this.first = null;
      this.port.onmessage = () => { this.port.postMessage({ first: this.first, blocks: this.blocks }); }; }
    process(inputs) {
      const samples = inputs[0][0];
      if (this.first === null) this.first = currentFrame;
      this.blocks.push(samples === undefined ? new Float32Array(128) : samples.slice());
      return true;
    }
  })`;
  const recorders = new Map();
  const moduleUrl = URL.createObjectURL(new Blob([PROCESSOR], { type: "text/javascript" }));
  function recorderOf(context) {
    if (!recorders.has(context)) {
      recorders.set(context, context.audioWorklet.addModule(moduleUrl).then(() => {
        const recorder = new AudioWorkletNode(context, "recorder");
        // Without a way to the destination it would not run; its own output is silence.
        connect.call(recorder, context.destination);
        return recorder;
      }));
    }
    return recorders.get(context);
  }
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target === this.context.destination) {
      recorderOf(this.context).then((recorder) => connect.call(this, recorder));
    }
    return connect.call(this, target, ...rest);
  };
  const resume = AudioContext.prototype.resume;
  AudioContext.prototype.resume = async function () {
    await recorderOf(this);
    return resume.call(this);
  };
  // The samples so far, as 32-bit floats in Base64, and the time of day of the first one.
  window.recording = async () => {
    const parts = [];
    for (const [context, ready] of recorders) {
      const recorder = await ready;
      const { first, blocks } = await new Promise((resolve) => {
        recorder.port.onmessage = (event) => resolve(event.data);
        recorder.port.postMessage("read");
      });
      const time = context.getOutputTimestamp();
      const began = performance.timeOrigin + time.performanceTime - 1000 * (time.contextTime - first / context.sampleRate);
      const bytes = new Uint8Array(await new Blob(blocks).arrayBuffer());
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      parts.push({ rate: context.sampleRate, began_at: began / 1000, samples: btoa(text) });
    }
    return parts;
  };
})();
