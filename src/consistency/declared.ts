import type { Consistency } from '../model/metadata.ts';
import { type Settings, settingsOf } from '../model/settings.ts';

/** Whether a volume declares any application: all that is asked of one whose snapshots need none. */
export function declaresQuiescers(settings: Settings | undefined): boolean {
  return settings !== undefined && Object.keys(settings).some((name) => name.startsWith('quiesce.'));
}

/** The level of snapshots that ask for none: that of what is declared. */
export function levelDeclared(settings: Settings | undefined): Consistency {
  if (!declaresQuiescers(settings)) return 'sync';
  const kinds = settingsOf(settings, 'quiesce').filter(([name]) => name !== 'order');
  return kinds.every(([name]) => /^freeze(\.|$)/.test(name)) ? 'freeze' : 'application';
}
