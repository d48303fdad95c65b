// Splits SQL into statements at the semicolons that are outside quotes, comments and triggers.

const QUOTES = { "'": "'", '"': '"', "`": "`", "[": "]" };
const TRIGGER = /^CREATE (TEMP |TEMPORARY )?TRIGGER /;

// Where the quoted text that begins at `start` ends; a doubled quote stands for one.
function endOfQuote(sql, start) {
  const close = QUOTES[sql[start]];
  let at = start + 1;
  while (at < sql.length) {
    if (sql[at] !== close) at += 1;
    else if (close !== "]" && sql[at + 1] === close) at += 2;
    else return at + 1;
  }
  return sql.length;
}

// Where the comment that begins at `start` ends, or `start` if none does.
function endOfComment(sql, start) {
  const [opening, closing] = sql.startsWith("--", start) ? ["--", "\n"] : ["/*", "*/"];
  if (!sql.startsWith(opening, start)) return start;
  const end = sql.indexOf(closing, start + 2);
  return end < 0 ? sql.length : end + closing.length;
}

// Follows BEGIN, CASE and END, so that a trigger's own semicolons do not split it.
class Depth {
  constructor() {
    this.words = "";
    this.open = 0;
  }

  see(word) {
    const upper = word.toUpperCase();
    if (this.words.length < 200) this.words += `${upper} `;
    if (!TRIGGER.test(this.words)) return;
    if (upper === "BEGIN" || (upper === "CASE" && this.open)) this.open += 1;
    if (upper === "END" && this.open) this.open -= 1;
  }
}

export function splitStatements(sql) {
  const statements = [];
  let text = "";
  let depth = new Depth();
  const finish = () => {
    if (text.trim()) statements.push(text.trim());
    text = "";
    depth = new Depth();
  };
  let at = 0;
  while (at < sql.length) {
    const afterComment = endOfComment(sql, at);
    const word = /^\w+/.exec(sql.slice(at, at + 64))?.[0];
    if (afterComment > at) {
      text += " ";
      at = afterComment;
    } else if (sql[at] in QUOTES) {
      const end = endOfQuote(sql, at);
      text += sql.slice(at, end);
      at = end;
    } else if (word) {
      depth.see(word);
      text += word;
      at += word.length;
    } else if (sql[at] === ";" && depth.open === 0) {
      finish();
      at += 1;
    } else {
      text += sql[at];
      at += 1;
    }
  }
  finish();
  return statements;
}
