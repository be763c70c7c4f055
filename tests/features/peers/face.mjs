// Prints the descriptors that face-api gives for images: node face.mjs PACKAGE_FOLDER IMAGES_JSON
import fs from "node:fs";
import path from "node:path";

const [folder, images] = process.argv.slice(2);
// The bundle brings the browser's TensorFlow.js, which stumbles over Node's modules unless it takes Node for a browser.
Object.defineProperty(process, "versions", { value: { ...process.versions, node: undefined } });
const faceapi = await import(path.resolve(folder, "dist/face-api.esm.js"));
const tf = faceapi.tf;
tf.setPlatform("node", {
  fetch,
  now: () => performance.now(),
  encode: (text) => new TextEncoder().encode(text),
  decode: (bytes) => new TextDecoder().decode(bytes),
  isTypedArray: (a) => a instanceof Float32Array || a instanceof Int32Array || a instanceof Uint8Array,
});
await tf.setBackend("cpu");
await tf.ready();

const manifest = JSON.parse(fs.readFileSync(path.join(folder, "model/face_recognition_model-weights_manifest.json")));
const raw = fs.readFileSync(path.join(folder, "model/face_recognition_model.bin"));
const buffer = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength);
const net = new faceapi.FaceRecognitionNet();
net.loadFromWeightMap(tf.io.decodeWeights(buffer, manifest.flatMap((group) => group.weights)));

const { shape, data } = JSON.parse(fs.readFileSync(images));
const batch = tf.tensor(data, shape, "float32");
const rows = [];
for (let k = 0; k < shape[0]; k += 1) {
  const image = batch.slice([k, 0, 0, 0], [1, ...shape.slice(1)]).squeeze([0]);
  rows.push(Array.from(await net.forwardInput(new faceapi.NetInput([image])).data()));
}
console.log(JSON.stringify(rows));
