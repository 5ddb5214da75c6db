import { constants, openSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Held } from '../../drivers/driver.ts';
import { Descriptor } from '../../linux/files.ts';
import { randomId } from '../../linux/random.ts';
import { formatSize } from '../../model/sizes.ts';
import { type Context, createContext } from '../context.ts';
import { openRoot } from '../pools/open.ts';
import { abandon } from '../publish.ts';
import { poolSpace } from '../space.ts';
import { namelessFile, outcomeOf, probeFiles } from './file-probes.ts';
import { type DoctorFinding, error, warning } from './finding.ts';
import { skipped, told } from './probes.ts';
import type { Situation } from './situation.ts';

/**
 * Tries in a pool what the pool does, by its own driver and in staged entries: what a killed process leaves there, the next opening
 * of the pool clears.
 */
export function poolProbeFindings({ pool, path, mount }: Situation): DoctorFinding[] {
  // That a pool is read-only is told by `pool check`.
  if (!pool || mount?.options.includes('ro')) return [];
  using root = openRoot(path);
  using context = createContext({ path: root.path, root: root.fd, metadata: root.metadata }, false);
  const { host } = poolSpace(context);
  if (host && host.freeBytes < host.reserveBytes) {
    return [
      warning(
        'probe.skipped',
        path,
        `Nothing was tried in ${path}, because the file system under it has only ${formatSize(host.freeBytes)} free.`,
        `Free space in ${host.path}.`,
      ),
    ];
  }
  try {
    return probe(context);
  } catch (failure) {
    return [skipped(path, failure)];
  }
}

function probe(context: Context): DoctorFinding[] {
  const { driver, path } = context;
  using source = stage(context);
  using copy = stage(context);
  using frozen = stage(context);
  driver.create(source.held, 2 ** 20, randomId());
  const disk = driver.path(source.held);
  using directory = new Descriptor(openSync(dirname(disk), constants.O_RDONLY | constants.O_DIRECTORY));
  const files = probeFiles(() => namelessFile(directory.fd));
  // Few extents, so it is a reflink.
  const request = { bytes: undefined, identity: randomId(), replicable: false, knownExtents: 0 };
  const clone = outcomeOf(() => void driver.clone(source.held, copy.held, request));
  const snapshot =
    driver.info.capabilities.snapshots === true
      ? outcomeOf(() => void driver.snapshot(source.held, frozen.held))
      : undefined;
  const exchange =
    clone === undefined ? outcomeOf(() => void driver.exchange(source.held, copy.held)) : undefined;
  const commit = outcomeOf(() => void driver.commit());
  return [
    told(error, 'reflink.probe', path, 'files can share blocks', files.reflink ?? clone),
    told(error, 'probe.snapshot', path, 'a disk can be snapshotted', snapshot),
    told(error, 'probe.exchange', path, 'a disk can be exchanged for another in one step', exchange),
    told(error, 'probe.attribute', path, 'attributes of 8,000 bytes can be kept', files.attribute),
    told(error, 'probe.lock', path, 'files can be locked', files.lock),
    told(warning, 'probe.lease', path, 'it can be asked whether a file is open', files.lease),
    told(error, 'probe.commit', path, 'changes can be made durable', commit),
  ];
}

/** A staged entry that is discarded in the end. */
function stage(context: Context): Disposable & { readonly held: Held } {
  const held = context.driver.stage();
  return {
    held,
    [Symbol.dispose]() {
      using entry = held;
      abandon(context, entry);
    },
  };
}
