// Workers AI, embeddings only. A FAKE: there is no model here. A text becomes the hashed sum of its
// words, of unit length: equal texts are equal, texts with common words are near. Shapes, limits
// and error numbers are those of the documentation.
import { failure, success } from "./answers.js";

const DIMENSIONS = {
  "@cf/baai/bge-small-en-v1.5": 384,
  "@cf/baai/bge-base-en-v1.5": 768,
  "@cf/baai/bge-large-en-v1.5": 1024,
  "@cf/baai/bge-m3": 1024,
  "@cf/google/embeddinggemma-300m": 768,
  "@cf/qwen/qwen3-embedding-0.6b": 1024,
};

const FNV_OFFSET = 2166136261;
const FNV_PRIME = 16777619;
const MURMUR_MIX = 1540483477;

function embed(text, dimensions) {
  const vector = new Float64Array(dimensions);
  for (const word of text.toLowerCase().split(/\W+/).filter(Boolean)) {
    let hash = FNV_OFFSET;
    for (const character of word) {
      hash = Math.imul(hash ^ character.charCodeAt(0), FNV_PRIME) >>> 0;
    }
    for (let round = 0; round < 4; round += 1) {
      hash = Math.imul(hash ^ (hash >>> 13), MURMUR_MIX) >>> 0;
      vector[hash % dimensions] += hash & 65536 ? 1 : -1;
    }
  }
  const length = Math.hypot(...vector) || 1;
  return Array.from(vector, (value) => value / length);
}

export async function workersAi({ request, parts }) {
  const model = parts.join("/");
  const dimensions = DIMENSIONS[model];
  if (!dimensions) return failure(400, 5007, `No such model ${model} or task`);
  let body;
  try {
    body = await request.json();
  } catch {
    return failure(400, 3003, "Request is missing headers or body: body");
  }
  const given = body.text ?? body.documents ?? body.queries;
  // The number 5006 is not verified.
  if (given === undefined) return failure(400, 5006, "AiError: required property 'text' missing");
  const texts = Array.isArray(given) ? given : [given];
  const most = model.includes("qwen3") ? 32 : 100;
  if (texts.length > most || texts.some((text) => typeof text !== "string" || !text.length)) {
    return failure(400, 5006, "AiError: input does not satisfy the model schema");
  }
  const result = { shape: [texts.length, dimensions], data: texts.map((t) => embed(t, dimensions)) };
  if (model.includes("bge")) result.pooling = body.pooling ?? "mean";
  return success(result);
}
