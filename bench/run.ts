import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { clearDeadRuns, removeRunDirectory } from '../test/support/run-directory.ts';
import type { Measured } from './support/measure.ts';

/**
 * `npm run bench [-- --only NAME] [--json FILE]`: measures, prints a table, and exits with 1 when a target is missed. Everything
 * happens on loop files in a temporary directory, which is removed at the end, after a failure and after Ctrl-C.
 */

const measures: Readonly<Record<string, () => Promise<Measured[]>>> = {
  'deferred-clones': async () => (await import('./deferred-clones.ts')).deferredClones(),
  'xfs-deferred-clones': async () => (await import('./deferred-clones.ts')).deferredClones('xfs'),
  'fragmented-clone': async () => (await import('./fragmented-clone.ts')).fragmentedClone(),
  'parallel-durable': async () => (await import('./parallel-durable.ts')).parallelDurable(),
  'cli-clone': async () => (await import('./cli-clone.ts')).cliClone(),
  'version-process': async () => (await import('./version-process.ts')).versionProcess(),
  crossover: async () => (await import('./crossover.ts')).crossover(),
  'tree-rollback': async () => (await import('./tree-rollback.ts')).treeRollback(),
  'postgres-snapshots': async () => (await import('./postgres-snapshots.ts')).postgresSnapshots(),
  'postgres-cow': async () => (await import('./postgres-cow.ts')).postgresCow(),
  everyday: async () => (await import('./everyday.ts')).everyday(),
  'scale-clone': async () => (await import('./scale-clone.ts')).scaleClone(),
  'scale-list': async () => (await import('./scale-list.ts')).scaleList(),
  usage: async () => (await import('./usage.ts')).usage(),
  'tree-diff': async () => (await import('./tree-diff.ts')).treeDiff(),
  zfs: async () => (await import('./zfs.ts')).zfs(),
  daemon: async () => (await import('./daemon.ts')).daemon(),
  'daemon-at-scale': async () => (await import('./daemon.ts')).daemonAtScale(),
  lxd: async () => (await import('./lxd.ts')).lxd(),
};

const { values } = parseArgs({ options: { json: { type: 'string' }, only: { type: 'string' } } });
const names = values.only === undefined ? Object.keys(measures) : [values.only];

// Exiting runs what cleans up; a signal alone would not.
for (const [signal, number] of [['SIGINT', 2] as const, ['SIGTERM', 15] as const, ['SIGHUP', 1] as const]) {
  process.on(signal, () => process.exit(128 + number));
}
clearDeadRuns();

const results: Measured[] = [];
const width = 46;
printRow(['measure', 'value', 'unit', 'target', 'ok']);
try {
  for (const name of names) {
    const measure = measures[name];
    if (!measure)
      throw new Error(`There is no measure ${name}; there are: ${Object.keys(measures).join(', ')}.`);
    for (const result of await measure()) {
      results.push(result);
      printRow(rowOf(result));
    }
  }
} catch (error) {
  for (const each of everyError(error)) console.error(each);
  process.exitCode = 1;
} finally {
  removeRunDirectory();
}
if (values.json !== undefined) {
  const list = results.map(({ name, value, unit, target, ok, samples }) => ({
    name,
    value,
    unit,
    target: target ?? null,
    ok: ok ?? null,
    samples,
  }));
  writeFileSync(values.json, `${JSON.stringify(list, undefined, 2)}\n`);
}
if (results.some((result) => result.ok === false)) process.exitCode = 1;

/** What failed, and what then failed while cleaning up. */
function everyError(error: unknown): unknown[] {
  if (!(error instanceof SuppressedError)) return [error];
  return [...everyError(error.suppressed), ...everyError(error.error)];
}

function rowOf({ name, value, unit, target, ok }: Measured): string[] {
  const wanted = !target
    ? ''
    : 'atLeast' in target
      ? `at least ${target.atLeast}`
      : `at most ${target.atMost}`;
  return [name, formatNumber(value), unit, wanted, ok === undefined ? '' : ok ? 'yes' : 'NO'];
}

function formatNumber(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}

function printRow([name = '', value = '', unit = '', target = '', ok = '']: readonly string[]): void {
  console.log(
    `${name.padEnd(width)} ${value.padStart(9)}  ${unit.padEnd(28)} ${target.padEnd(13)} ${ok}`.trimEnd(),
  );
}
