/** Whether to take the time for every single step. */
export const torture: boolean = process.env['COPPICE_TORTURE'] === '1';

/** The steps to test: every one, or of many the first and last twenty and every third between. */
export function chosenSteps(count: number): number[] {
  const all = Array.from({ length: count }, (_, index) => index + 1);
  if (torture || count <= 60) return all;
  return all.filter((step) => step <= 20 || step > count - 20 || step % 3 === 0);
}
