import { CoppiceError, didYouMean } from '../model/errors.ts';
import { type Settings, settingsOf } from '../model/settings.ts';
import { invalidDeclaration } from './declaration.ts';
import type { Quiescer } from './quiescer.ts';

/** A kind of application. Each is a module of its own, and loaded only where it is wanted: some bring a database's client along. */
interface Kind {
  /** @throws CoppiceError invalid_argument when the value can't be meant */
  make(name: string, value: string): Quiescer;
}

const kinds: Readonly<Record<string, () => Promise<Kind>>> = {
  freeze: () => import('./freeze.ts'),
  hook: () => import('./hook.ts'),
  mysql: () => import('./mysql/quiescer.ts'),
  redis: () => import('./redis/quiescer.ts'),
  sqlite: () => import('./sqlite.ts'),
  postgres: () => import('./postgres/quiescer.ts'),
};

/**
 * The applications that are declared for a volume, in the order in which they are to be held: that of `quiesce.order`, then those that
 * it leaves out, as they were set. They are released in the opposite order.
 * @throws CoppiceError invalid_argument
 */
export async function declaredQuiescers(settings: Settings | undefined): Promise<Quiescer[]> {
  const declared = new Map(settingsOf(settings, 'quiesce'));
  const order = (declared.get('order') ?? '').split(',').filter(Boolean);
  declared.delete('order');
  const unknown = order.find((name) => !declared.has(name));
  if (unknown !== undefined) throw invalidDeclaration('order', `there is no quiesce.${unknown}`);
  const names = new Set([...order, ...declared.keys()]);
  return Promise.all([...names].map((name) => makeQuiescer(name, declared.get(name) ?? '')));
}

/** @throws CoppiceError invalid_argument */
export async function makeQuiescer(name: string, value: string): Promise<Quiescer> {
  const [kind = ''] = name.split('.');
  const load = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (load) return (await load()).make(name, value);
  throw new CoppiceError(
    'invalid_argument',
    `There is no way to quiesce "${kind}"; there is ${Object.keys(kinds).join(', ')}.${didYouMean(kind, Object.keys(kinds))}`,
  );
}
