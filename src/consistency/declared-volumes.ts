import { type Settings, settingsOf } from '../model/settings.ts';
import { parsePostgres } from './postgres/declaration.ts';

/**
 * The other volumes that the applications of a volume lie in, as somebody has declared who may. Only that counts: who owns the files could
 * make links to any volume, and have it snapshotted and rolled back.
 * @throws CoppiceError invalid_argument
 */
export function declaredVolumes(settings: Settings | undefined): readonly string[] {
  const all = postgresIn(settings).flatMap(({ volumes }) => volumes);
  return [...new Set(all)];
}

/** The clusters that are declared for a volume. @throws CoppiceError invalid_argument */
export function postgresIn(settings: Settings | undefined): ReadonlyArray<ReturnType<typeof parsePostgres>> {
  return settingsOf(settings, 'quiesce')
    .filter(([kind]) => /^postgres(\.|$)/.test(kind))
    .map(([kind, value]) => parsePostgres(kind, value));
}
