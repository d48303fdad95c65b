// Scores and filters of the fake Vectorize.

const INDEXED_BYTES = 64;

export function valueAt(object, path) {
  return path.split(".").reduce((value, key) => value?.[key], object);
}

// The service compares text by its first 64 bytes.
export function truncated(value) {
  if (typeof value !== "string") return value;
  const bytes = new TextEncoder().encode(value);
  if (bytes.length <= INDEXED_BYTES) return value;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return decoder.decode(bytes.slice(0, INDEXED_BYTES)).replace(/\uFFFD+$/, "");
}

const ordered = (compare) => (value, operand) =>
  value !== undefined && typeof value === typeof operand && compare(value, operand);

const OPERATORS = {
  $eq: (value, operand) => (value ?? null) === operand,
  $ne: (value, operand) => (value ?? null) !== operand,
  $in: (value, operand) => operand.includes(value ?? null),
  $nin: (value, operand) => !operand.includes(value ?? null),
  $lt: ordered((value, operand) => value < operand),
  $lte: ordered((value, operand) => value <= operand),
  $gt: ordered((value, operand) => value > operand),
  $gte: ordered((value, operand) => value >= operand),
};

// Whether a vector fits a filter, or as text what is wrong with the filter.
export function matches(vector, filter) {
  for (const [field, condition] of Object.entries(filter ?? {})) {
    const known = vector.indexed.has(field);
    const value = known ? truncated(valueAt(vector.metadata, field)) : undefined;
    const plain =
      condition === null || typeof condition !== "object" || Array.isArray(condition);
    for (const [name, given] of plain ? [["$eq", condition]] : Object.entries(condition)) {
      const operand = Array.isArray(given) ? given.map(truncated) : truncated(given);
      if (!(name in OPERATORS)) return `bad operator ${name}`;
      if (!OPERATORS[name](value, operand)) return false;
    }
  }
  return true;
}

export function score(metric, left, right) {
  let dot = 0;
  let leftSquared = 0;
  let rightSquared = 0;
  let distanceSquared = 0;
  left.forEach((value, position) => {
    const other = right[position];
    dot += value * other;
    leftSquared += value * value;
    rightSquared += other * other;
    distanceSquared += (value - other) ** 2;
  });
  if (metric === "cosine") return dot / (Math.sqrt(leftSquared * rightSquared) || 1);
  if (metric === "euclidean") return Math.sqrt(distanceSquared);
  // The documentation calls the score the negative dot product, lower is nearer; not verified.
  return -dot;
}
