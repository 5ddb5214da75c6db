/** What a terminal would take for an order, or not show, is spelled out. Names of files and of processes are anybody's choice. */
export function printable(text: string): string {
  return text.replace(
    /\p{C}/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** The same for what may be no text at all, such as the name of a file: bytes that are no UTF-8 are spelled out one by one. */
export function printableBytes(bytes: Uint8Array): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let [shown, at] = ['', 0];
  while (at < bytes.length) {
    const first = bytes[at] ?? 0;
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      shown += printable(decoder.decode(bytes.subarray(at, at + length)));
      at += length;
    } catch {
      shown += `\\x${first.toString(16).padStart(2, '0')}`;
      at++;
    }
  }
  return shown;
}

/** The same for a text of several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}
