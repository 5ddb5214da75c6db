import { declaredVolumes } from '../../consistency/declared-volumes.ts';
import { makeQuiescer } from '../../consistency/quiescers.ts';
import { stopTimeout } from '../../consistency/stop.ts';
import { unitPattern } from '../../consistency/unit.ts';
import { CoppiceError } from '../../model/errors.ts';
import { consistencies } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import { checkSetting, type Settings } from '../../model/settings.ts';
import { requireRoom } from '../../model/tree-place.ts';
import type { Context } from '../context.ts';
import { holdVolume, requireUnsealed } from '../holding.ts';
import { policyIn } from '../policy/rules/policy.ts';

/** Names with their new values; null takes a setting away. */
export type SettingChanges = Readonly<Record<string, string | null>>;

/** What is set for a volume. */
export function settings(context: Context, nameText: string): Settings {
  using volume = holdVolume(context, parseVolumeName(nameText), 'shared');
  return volume.metadata.settings ?? {};
}

/** Changes what is set for a volume: all that is given, or nothing. Returns what is set then. */
export async function set(context: Context, nameText: string, changes: SettingChanges): Promise<Settings> {
  const name = parseVolumeName(nameText);
  for (const [key, value] of Object.entries(changes)) if (value !== null) await checkValue(key, value);
  using volume = holdVolume(context, name, 'exclusive');
  requireUnsealed(volume, `change the settings of ${name}`);
  const { settings: before = {}, ...metadata } = volume.metadata;
  const kept = Object.entries({ ...before, ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  const after = Object.fromEntries(kept);
  requireOrder(name, after);
  for (const part of declaredVolumes(changedOnly(changes))) requireTreeNamed(context, name, part);
  requireRoom(name, after, metadata.at);
  context.driver.write(volume.held, kept.length > 0 ? { ...metadata, settings: after } : metadata);
  return after;
}

function changedOnly(changes: SettingChanges): Settings {
  return Object.fromEntries(
    Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== null),
  );
}

/** @throws CoppiceError invalid_argument when an application is said to lie in what there is none of */
function requireTreeNamed(context: Context, name: string, part: string): void {
  const metadata = context.driver.peek({ area: 'volumes', name: parseVolumeName(part) });
  if (metadata?.type === 'volume' && metadata.kind === 'tree') return;
  throw new CoppiceError(
    'invalid_argument',
    `volumes= of ${name} names ${part}, and there is no directory tree of that name in this pool.`,
  );
}

/** @throws CoppiceError invalid_argument when an order names what there is none of */
function requireOrder(name: string, settings: Settings): void {
  const order = (settings['quiesce.order'] ?? '').split(',').filter(Boolean);
  const missing = order.find((each) => settings[`quiesce.${each}`] === undefined);
  if (missing === undefined) return;
  throw new CoppiceError(
    'invalid_argument',
    `quiesce.order of ${name} names ${missing}, and there would be no quiesce.${missing}; change both at once.`,
  );
}

/** @throws CoppiceError invalid_argument unless those who will use it understand it */
async function checkValue(key: string, value: string): Promise<void> {
  checkSetting(key, value);
  const [family, ...rest] = key.split('.');
  if (family === 'quiesce' && key !== 'quiesce.order') {
    await using quiescer = await makeQuiescer(rest.join('.'), value);
    void quiescer;
  }
  if (family === 'policy') policyIn({ [key]: value });
  if (['stop.hook', 'verify.program'].includes(key) && !value.startsWith('/'))
    throw new CoppiceError('invalid_argument', `${key}=${value} must be the absolute path of a program.`);
  if (key === 'stop.unit' && !unitPattern.test(value))
    throw new CoppiceError(
      'invalid_argument',
      `stop.unit=${value} is no unit of systemd, such as app.service.`,
    );
  if (key === 'stop.timeout') stopTimeout({ [key]: value });
  const levels: readonly string[] = consistencies;
  if (family === 'consistency' && !levels.includes(value))
    throw new CoppiceError('invalid_argument', `"${value}" is no level; it is one of ${levels.join(', ')}.`);
}
