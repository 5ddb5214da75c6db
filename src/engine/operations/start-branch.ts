import { dirname, join } from 'node:path';
import { postgresIn } from '../../consistency/declared-volumes.ts';
import { restartServer } from '../../consistency/postgres/branch.ts';
import { CoppiceError } from '../../model/errors.ts';
import { parseVolumeName } from '../../model/names.ts';
import type { Settings } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdVolume } from '../holding.ts';
import { membersOfBranches } from '../members-of-branch.ts';
import { trustedSettings } from '../trusted-settings.ts';
import type { BranchServer } from './branch.ts';
import { path } from './list.ts';

export interface StartBranchOptions {
  /** Where the programs of the database are, if not in the usual place. */
  readonly programs?: string;
}

export interface BranchStarted {
  readonly name: string;
  readonly servers: readonly BranchServer[];
}

/**
 * Starts the servers of a branch again, as after a reboot. One that runs already is left as it is.
 * @throws CoppiceError invalid_argument for what is no branch; damaged when a server does not start
 */
export async function startBranch(
  context: Context,
  nameText: string,
  { programs }: StartBranchOptions,
  control: Control,
): Promise<BranchStarted> {
  const name = parseVolumeName(nameText);
  const { settings, copy } = branchOf(context, name);
  control.report({ step: 'starting', fraction: 0 });
  const volumes = Object.fromEntries(
    membersOfBranches(context, [name]).map((member) => [member, path(context, member)]),
  );
  const servers: BranchServer[] = [];
  for (const { name: kind, directory: below, socket, port = 5432, user } of postgresIn(settings)) {
    if (socket === undefined) {
      throw new CoppiceError(
        'damaged',
        `The branch ${name} was never made to its end, so it has no server; remove it, and make it anew.`,
      );
    }
    // The branch may have got another name since.
    const socketDirectory = join(copy, socket.slice(dirname(socket).length + 1));
    const safe = { below, socketDirectory, port, volumes, ...(programs !== undefined && { programs }) };
    await startUnlessRunning(copy, safe, control.signal);
    servers.push({ name: kind, socketDirectory, port, user, isRunning: true });
  }
  return { name, servers };
}

function branchOf(
  context: Context,
  name: ReturnType<typeof parseVolumeName>,
): { readonly settings: Settings; readonly copy: string } {
  using volume = holdVolume(context, name, 'shared');
  if (volume.metadata.branch)
    return { settings: trustedSettings(context, volume), copy: context.driver.path(volume.held) };
  throw new CoppiceError(
    'invalid_argument',
    `${name} is no branch, so it has no server of its own; "coppice branch ${name}@SNAPSHOT NAME" makes one.`,
  );
}

async function startUnlessRunning(
  copy: string,
  safe: Parameters<typeof restartServer>[1],
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await restartServer(copy, safe, signal);
  } catch (error) {
    if (!(error instanceof CoppiceError && error.code === 'busy')) throw error;
  }
}
