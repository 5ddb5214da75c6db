import type { PoliciesApplied } from '../../../engine/policy/apply.ts';
import { CoppiceError } from '../../../model/errors.ts';
import { note } from '../../command.ts';
import type { CliContext } from '../../context.ts';
import { exitCodes, Shown } from '../../failure.ts';
import { named } from '../../names.ts';

/** What is done by schedule is done for all pools of a host by one command. */
export interface SeveralPoolsFlags {
  readonly pool?: readonly string[];
  readonly json: boolean;
}

/** What has not gone well. */
export type Outcome = Pick<PoliciesApplied, 'failed' | 'cancelled'>;

/** @throws CoppiceError invalid_argument */
export async function inEachPool<T extends Outcome>(
  context: CliContext,
  flags: SeveralPoolsFlags,
  volumes: readonly string[],
  act: (pool: string | undefined) => Promise<T>,
): Promise<Array<T | Outcome>> {
  const pools = flags.pool ?? [];
  const [only, ...others] = pools;
  if (others.length === 0) return [await act(only)];
  if (flags.json || volumes.length > 0)
    throw new CoppiceError('invalid_argument', 'Volumes, and --json, are for one pool at a time.');
  const results: Array<T | Outcome> = [];
  for (const pool of pools) {
    note(context, `coppice: ${pool}`);
    // What is wrong with one pool is no reason to leave out the others.
    results.push(await act(pool).catch(asFailure(context, pool)));
  }
  return results;
}

function asFailure(context: CliContext, pool: string): (error: unknown) => Outcome {
  return (error) => {
    if (!(error instanceof CoppiceError)) throw error;
    note(context, `coppice: ${error.message}`);
    return { failed: [{ reference: pool, error: error.toJSON() }] };
  };
}

/** @param couldNot what follows the names of the volumes that something failed of */
export function endWith(
  context: CliContext,
  flags: SeveralPoolsFlags,
  outcomes: readonly Outcome[],
  couldNot: (volumes: string) => string = (volumes) => `The policies of ${volumes} could not be followed.`,
): void {
  const failed = outcomes.flatMap((each) => each.failed);
  const [first] = failed;
  if (!first && !outcomes.some(({ cancelled }) => cancelled)) return;
  const exitCode = exitCodes[first ? first.error.code : 'cancelled'];
  if (flags.json) {
    context.process.exitCode = exitCode; // the result itself says what failed
    return;
  }
  const volumes = [...new Set(failed.map(({ reference }) => reference.split('@', 1)[0] ?? ''))];
  const said = first ? couldNot(named(volumes)) : 'Cancelled: the next time goes on with the rest.';
  throw new Shown(`coppice: ${said}`, exitCode);
}
