import { parsePostgres } from '../consistency/postgres/declaration.ts';
import { endServers } from '../consistency/postgres/end-servers.ts';
import { CoppiceError } from '../model/errors.ts';
import { type Settings, settingsOf } from '../model/settings.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';
import { trustedSettings } from './trusted-settings.ts';

/** Ends the servers that were started on a branch. Of any other volume it does nothing. */
export function endBranch(context: Context, volume: HeldVolume): void {
  if (!volume.metadata.branch || !context.driver.inspect(volume.held)) return;
  endServersIn(context.driver.path(volume.held), trustedSettings(context, volume));
}

/** Ends the servers on a copy of a volume with these settings. Where there is no data directory any more, nobody can be in it. */
export function endServersIn(directory: string, settings: Settings): void {
  for (const [kind, value] of settingsOf(settings, 'quiesce')) {
    if (!/^postgres(\.|$)/.test(kind)) continue;
    try {
      endServers(directory, parsePostgres(kind, value).directory);
    } catch (error) {
      // Whoever still has it open is told as of any volume.
      if (!(error instanceof CoppiceError) || error.code === 'io_error') throw error;
    }
  }
}
