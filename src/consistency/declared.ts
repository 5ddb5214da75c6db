import type { Settings } from '../model/settings.ts';

/** Whether a volume declares any application: all that is asked of one whose snapshots need none. */
export function declaresQuiescers(settings: Settings | undefined): boolean {
  return settings !== undefined && Object.keys(settings).some((name) => name.startsWith('quiesce.'));
}
