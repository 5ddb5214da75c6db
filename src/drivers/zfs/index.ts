import type { Store } from '../store.ts';
import { liesOnDevice } from './devices.ts';
import { zfsDriver } from './driver.ts';
import { layoutOf } from './layout.ts';
import { createPool, datasetOf, destroyPool, openRoot } from './pools.ts';

export const zfs: Store = {
  name: 'zfs',
  defaultPath: 'zfs:vmpool',
  advice: {
    grow: 'a ZFS pool grows with its devices: "zpool add POOL DEVICE" adds one, and "zpool online -e POOL DEVICE" takes in what one has grown by',
    persist:
      'ZFS itself imports its pools at every boot: "systemctl enable zfs-import-cache.service zfs-import.target"',
    preallocate: 'ZFS reserves space by a property: "zfs set reservation=SIZE DATASET"',
    doctor: '"coppice pool check zfs:POOL" looks at what is in it, and "zpool status POOL" at its devices',
  },
  openRoot,
  open: (root, path) => zfsDriver(datasetOf(path), root),
  create: createPool,
  liesOn: (path, device) => liesOnDevice(layoutOf(datasetOf(path)).zpool, device),
  destroy: destroyPool,
};
