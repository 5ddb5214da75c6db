/** What a terminal would take for an order, or not show, is spelled out. Names of files and of processes are anybody's choice. */
export function printable(text: string): string {
  return text.replace(
    /\p{C}/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** The same for a text of several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}
