import { type Adopted, CoppiceError, type PoliciesApplied, type Pool } from '../../src/index.ts';

/** Calls a method of a pool by its name. What failed of several is thrown, too. */
export async function perform(
  pool: Pool,
  [method, ...args]: readonly [method: string, ...args: unknown[]],
): Promise<unknown> {
  const methods = pool as unknown as Record<string, (...values: unknown[]) => Promise<unknown>>;
  const call = methods[method];
  if (!call) throw new Error(`A pool has no method ${method}.`);
  const result = await call.apply(pool, args);
  const [failure] = failedIn[method]?.(result) ?? [];
  if (failure) throw new CoppiceError(failure.error.code, failure.error.message);
  return result;
}

const failedIn: Readonly<
  Record<string, (result: unknown) => Adopted['failed'] | PoliciesApplied['failed'] | undefined>
> = {
  adopt: (result) => (result as Adopted).failed,
  applyPolicies: (result) => (result as PoliciesApplied).failed,
};
