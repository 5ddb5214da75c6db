/** How many characters a line of a terminal holds: as the user says in COLUMNS, else as it is. Nothing where this is no terminal. */
export function lineWidth(
  stream: NodeJS.WriteStream,
  { env }: Pick<NodeJS.Process, 'env'>,
): number | undefined {
  if (!stream.isTTY) return undefined;
  const wanted = env['COLUMNS'] ?? '';
  const width = /^[1-9]\d{0,4}$/.test(wanted) ? Number(wanted) : stream.columns;
  return width > 0 ? width : undefined;
}
