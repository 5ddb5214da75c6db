import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Pool } from '../../src/index.ts';
import { scratchDirectory } from '../support/devices.ts';
import type { TestPool, TestPoolOptions } from '../support/test-pool.ts';
import { stagedIn } from '../support/zfs-pool.ts';
import { type Backend, backends, type Trait } from './backends.ts';

export interface Suite {
  readonly backend: Backend;
  /** The pool that the cases of a topic share; each works with names of its own. */
  readonly pool: Pool;
  readonly home: TestPool;
  /** A directory outside the pool. */
  readonly scratch: string;
  /** A name that no other case uses. */
  name(stem?: string): string;
  /** A volume with a name of its own. */
  volume(bytes?: number, stem?: string): Promise<{ name: string; path: string }>;
  /** A case that needs a capability or trait; without it, it is skipped and its title says why. */
  needs(capability: string): (title: string, run: () => unknown) => void;
}

/** Defines the cases of a topic once for every backend. */
export function conformance(
  topic: string,
  define: (suite: Suite) => void,
  options: TestPoolOptions & { readonly needs?: Trait } = {},
): void {
  describe.each(backends)(`${topic} on $name`, (backend) => {
    const can = options.needs === undefined || backend.traits[options.needs];
    if (can !== true) {
      test.skip(`(skipped: ${can})`, () => {});
      return;
    }
    let home: TestPool | undefined;
    let scratch: string | undefined;
    let count = 0;
    const suite: Suite = {
      backend,
      get home() {
        if (!home) throw new Error('The pool is there only while a case runs.');
        return home;
      },
      get pool() {
        return this.home.pool;
      },
      get scratch() {
        scratch ??= scratchDirectory();
        return scratch;
      },
      name: (stem = 'v') => `${stem}-${++count}`,
      async volume(bytes = 2 ** 20, stem = 'v') {
        const name = this.name(stem);
        await this.pool.create(name, { bytes });
        return { name, path: await this.pool.diskPath(name) };
      },
      needs(capability) {
        const can =
          backend.capabilities[capability] ??
          backend.traits[capability as Trait] ??
          `unknown capability ${capability}`;
        return can === true ? test : (title) => test.skip(`${title} (skipped: ${can})`, () => {});
      },
    };
    beforeAll(async () => {
      home = await backend.makePool(options);
    });
    afterEach(() => expect(staged(suite.home), 'left in staging').toEqual([]));
    afterAll(() => home?.[Symbol.asyncDispose]());
    define(suite);
  });
}

/** Unfinished entries of a pool. */
export function staged(home: TestPool): string[] {
  return home.path.startsWith('zfs:') ? stagedIn(home.path) : readdirSync(join(home.path, '.staging'));
}
