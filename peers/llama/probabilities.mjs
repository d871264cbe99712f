// What llama.cpp calculates for token ids that it is given:
//
//     node probabilities.mjs QUESTION.json ANSWER.json
//
// The question names a model, an adapter or null, texts to be tokenised, and rows of token
// ids. The answer has the ids of every text, and for every position of every row the most
// likely next tokens with their probabilities, the likeliest first. Node-llama-cpp is looked
// for in the folder that LLAMA_CHECK_MODULES names.

import {readFileSync, writeFileSync} from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";

const SHOWN = 10;

const folder = process.env.LLAMA_CHECK_MODULES ?? path.dirname(process.argv[1]);
const installed = createRequire(path.join(folder, "package.json"));
const {getLlama, LlamaLogLevel} =
    await import(pathToFileURL(installed.resolve("node-llama-cpp")).href);

const [question, answer] = process.argv.slice(2);
const {model: modelPath, adapter, texts, rows} = JSON.parse(readFileSync(question, "utf8"));

// Nothing is built and nothing is downloaded.
const llama = await getLlama({
    gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error
});
const model = await llama.loadModel({modelPath, gpuLayers: 0});
const longest = Math.max(1, ...rows.map((row) => row.length));
const context = await model.createContext({
    // A row that fills the context would lose its beginning before its last position.
    contextSize: longest + 8,
    flashAttention: false,
    // Keys and values as they are calculated.
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
    threads: 2,
    ...(adapter === null ? {} : {lora: {adapters: [{filePath: adapter, scale: 1}]}})
});
const sequence = context.getSequence();

const found = [];
for (const row of rows) {
    await sequence.clearHistory();
    const asked = row.map((token) => [token, {generateNext: {probabilities: true}}]);
    const positions = await sequence.controlledEvaluate(asked);
    found.push(positions.map(({next}) => [...next.probabilities].slice(0, SHOWN)));
}
const tokens = texts.map((text) => [...model.tokenize(text, false, "trimLeadingSpace")]);
writeFileSync(answer, JSON.stringify({tokens, rows: found}));
await model.dispose();
