import { parsePostgres } from '../consistency/postgres/declaration.ts';
import { endServers } from '../consistency/postgres/end-servers.ts';
import { settingsOf } from '../model/settings.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';
import { trustedSettings } from './trusted-settings.ts';

/** Ends the servers that were started on a branch. Of any other volume it does nothing. */
export function endBranch(context: Context, volume: HeldVolume): void {
  if (!volume.metadata.branch || !context.driver.inspect(volume.held)) return;
  const directory = context.driver.path(volume.held);
  for (const [kind, value] of settingsOf(trustedSettings(context, volume), 'quiesce'))
    if (/^postgres(\.|$)/.test(kind)) endServers(directory, parsePostgres(kind, value).directory);
}
