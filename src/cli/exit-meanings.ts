/** What exit codes mean, as docs/command-line.md and the manual say it. */
export const exitMeanings: ReadonlyArray<readonly [codes: string, meaning: string]> = [
  ['0', 'done'],
  ['1', 'the storage failed, data is damaged, a program is missing, or a defect of Coppice'],
  ['2', 'a mistake in the command: unknown flag, wrong name, wrong size'],
  ['3', 'not there'],
  ['4', 'the name is taken'],
  ['5', 'something stands in the way, or another operation has it'],
  ['6', 'not enough space'],
  ['7', 'not a pool, or not possible here'],
  ['8', 'the image is refused'],
  ['9', 'no permission'],
  ['10, 11', 'only `pool check` and `doctor`: warnings, errors'],
  ['130', 'cancelled'],
];
