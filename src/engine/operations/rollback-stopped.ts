import { Rest } from '../../consistency/rest.ts';
import { stopper } from '../../consistency/stop.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import { parseSnapshotReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdVolume } from '../holding.ts';
import { leadsOf, partBlockers } from '../parts.ts';
import { trustedSettings } from '../trusted-settings.ts';
import { type RollbackOptions, type RolledBack, rollback } from './rollback.ts';
import { rollbackTogether } from './rollback-together.ts';

/**
 * The same as `rollback` while what runs on the volume is stopped, as its settings `stop.unit` or `stop.hook` say. It is started
 * again whatever happens.
 * @returns also where it could not be started: then with `notStarted`
 * @throws CoppiceError io_error when it could not be stopped, and nothing was rolled back
 */
export async function rollbackStopped(
  context: Context,
  referenceText: string,
  options: RollbackOptions,
  control: Control,
): Promise<RolledBack> {
  const { volume: name } = parseSnapshotReference(referenceText);
  const { quiescer, directory } = prepare(context, name, options.alone ?? false);
  const subject = { volume: name, ...(directory !== undefined && { directory }) };
  const scope = { subject, together: [subject], sameInstant: true, canAmend: false };
  // What only looks stops nobody.
  if (options.dryRun) return await goBack(context, referenceText, options, control);
  control.report({ step: 'stopping', fraction: 0 });
  await using rest = await Rest.prepare([{ quiescer, scope }], control.signal);
  await rest.hold();
  const result = await goBackOrStart(() => goBack(context, referenceText, options, control), rest);
  context.driver.commit();
  control.report({ step: 'starting', fraction: 0.5 });
  try {
    await rest.release();
  } catch (error) {
    return { ...result, notStarted: error instanceof Error ? error.message : String(error) };
  }
  return result;
}

/** What was stopped is started after a failure, too; where not even that can be done, both are told. */
async function goBackOrStart(back: () => Promise<RolledBack>, rest: Rest): Promise<RolledBack> {
  try {
    return await back();
  } catch (error) {
    try {
      await rest.release();
    } catch (second) {
      const [why, andWhy] = [error, second].map((each) =>
        each instanceof Error ? each.message : String(each),
      );
      const code = error instanceof CoppiceError ? error.code : 'io_error';
      throw new CoppiceError(
        code,
        `${why} And what was stopped for it could not be started again: ${andWhy}`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

async function goBack(
  context: Context,
  reference: string,
  options: RollbackOptions,
  control: Control,
): Promise<RolledBack> {
  return (
    rollback(context, reference, options) ?? (await rollbackTogether(context, reference, options, control))
  );
}

function prepare(
  context: Context,
  name: Parameters<typeof holdVolume>[1],
  alone: boolean,
): {
  readonly quiescer: ReturnType<typeof stopper>;
  readonly directory: string | undefined;
} {
  using volume = holdVolume(context, name, 'shared');
  const leads = alone ? [] : leadsOf(context, volume);
  if (leads.length > 0) throw blockedBy(`Could not roll back ${name}`, partBlockers(name, leads));
  const isTree = volume.metadata.kind === 'tree';
  return {
    quiescer: stopper(name, trustedSettings(context, volume), 'rollback'),
    directory: isTree ? context.driver.path(volume.held) : undefined,
  };
}
