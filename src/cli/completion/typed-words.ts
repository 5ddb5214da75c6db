export interface TypedWord {
  /** What the shell would make of it: without quotes and backslashes, with a home directory for `~`. */
  readonly text: string;
  readonly raw: string;
}

/**
 * The words of a line that somebody is still typing, as a shell splits it; the last one, perhaps empty, is the one under the cursor.
 * Variables and substitutions stay as they are written: nothing is ever evaluated.
 */
export function typedWords(line: string, home: string | undefined): readonly [...TypedWord[], TypedWord] {
  const words: TypedWord[] = [];
  let last = { text: '', raw: '' };
  for (const [piece] of line.matchAll(/\s+|\\.?|'[^']*'?|"(?:\\.|[^"\\])*\\?"?|[^\s\\'"]+/gs)) {
    if (/^\s/.test(piece)) {
      if (last.raw !== '') words.push(last);
      last = { text: '', raw: '' };
    } else {
      last = { text: last.text + unquoted(piece, last.raw === '' ? home : undefined), raw: last.raw + piece };
    }
  }
  return [...words, last];
}

function unquoted(piece: string, home: string | undefined): string {
  switch (piece[0]) {
    case '\\':
      return piece.slice(1);
    case "'":
      return piece.replaceAll("'", '');
    case '"':
      return piece.replace(/^"|"$/g, '').replace(/\\([\\"$`])/g, '$1');
    default:
      return home === undefined ? piece : piece.replace(/^~(?=\/|$)/, home);
  }
}
