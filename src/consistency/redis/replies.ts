/** What a server answers, in the protocol that all of them speak (RESP2). */
export type Reply = string | number | null | readonly Reply[];

export interface Taken {
  readonly reply: Reply | Error;
  /** Bytes of it. */
  readonly length: number;
}

/** Deeper ones are nobody's. */
const mostDepth = 4;

/** The first answer in what has come; undefined when it is not there as a whole yet. */
export function takeReply(buffer: Buffer, from = 0, depth = 0): Taken | 'nonsense' | undefined {
  const end = buffer.indexOf('\r\n', from);
  if (end < 0) return undefined;
  const text = buffer.toString('utf8', from + 1, end);
  const length = end + 2 - from;
  switch (String.fromCharCode(buffer[from] ?? 0)) {
    case '+':
      return { reply: text, length };
    case '-':
      return { reply: new Error(text), length };
    case ':':
      return /^-?\d+$/.test(text) ? { reply: Number(text), length } : 'nonsense';
    case '$':
      return takeBulk(buffer, end + 2, text, length);
    case '*':
      return depth < mostDepth ? takeArray(buffer, from, text, length, depth) : 'nonsense';
    default:
      return 'nonsense';
  }
}

function takeBulk(
  buffer: Buffer,
  from: number,
  size: string,
  length: number,
): Taken | 'nonsense' | undefined {
  if (size === '-1') return { reply: null, length };
  if (!/^\d{1,9}$/.test(size)) return 'nonsense';
  const bytes = Number(size);
  if (buffer.length < from + bytes + 2) return undefined;
  return { reply: buffer.toString('utf8', from, from + bytes), length: length + bytes + 2 };
}

function takeArray(
  buffer: Buffer,
  from: number,
  count: string,
  head: number,
  depth: number,
): Taken | 'nonsense' | undefined {
  if (count === '-1') return { reply: null, length: head };
  if (!/^\d{1,5}$/.test(count)) return 'nonsense';
  const items: Reply[] = [];
  let length = head;
  while (items.length < Number(count)) {
    const taken = takeReply(buffer, from + length, depth + 1);
    if (taken === undefined || taken === 'nonsense') return taken;
    if (taken.reply instanceof Error) return 'nonsense';
    items.push(taken.reply);
    length += taken.length;
  }
  return { reply: items, length };
}
