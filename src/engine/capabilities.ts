import type { Capability } from '../drivers/driver.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Context } from './context.ts';

/** Refuses what this pool's driver can't do, with its reason. @throws CoppiceError unsupported */
export function requireCapability(context: Context, capability: Capability, action: string): void {
  const can = context.driver.info.capabilities[capability];
  if (can !== true) throw new CoppiceError('unsupported', `Could not ${action}: ${can}`);
}
