import type { PoliciesApplied, PolicyDecision } from '../../../engine/policy/apply.ts';
import { table } from '../../table.ts';

/** Each snapshot with its age, and why it stays or goes. */
export function decisionTable(
  { decisions }: PoliciesApplied,
  width: number | undefined,
  now: number = Date.now(),
): string {
  if (decisions.length === 0) return '';
  return table(
    decisions,
    [
      { title: 'SNAPSHOT', value: (row) => row.reference, shortens: true },
      { title: 'AGE', value: (row) => ageOf(row, now), align: 'right', givesWay: 1 },
      { title: 'FATE', value: (row) => (row.goes ? 'goes' : row.isPlanned ? 'taken' : 'stays') },
      { title: 'WHY', value: ({ reasons }) => reasons.join(', ') },
    ],
    width,
  );
}

const units = [
  ['d', 24 * 3600],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;

/** One number is enough for a person: `3d`, `5h`, `12min`. */
function ageOf({ created, isPlanned }: PolicyDecision, now: number): string {
  if (isPlanned) return 'new';
  if (created === undefined) return '-';
  const seconds = Math.floor((now - Date.parse(created)) / 1000);
  if (seconds < 0) return 'ahead';
  const [unit, length] = units.find(([, each]) => seconds >= each) ?? units[3];
  return `${Math.floor(seconds / length)}${unit}`;
}
