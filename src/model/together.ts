/** What snapshots say of each other that one application needs together, because it lies in several volumes. */
export interface Together {
  /** The id of the volume that the application is declared for. */
  readonly lead: string;
  /** The other volumes. Their snapshots carry the same group. */
  readonly volumes: readonly Partner[];
}

export interface Partner {
  readonly volumeId: string;
  /** As it was called when the snapshots were taken. */
  readonly volume: string;
}

/** A part of an application that lies in another volume than that it is declared for. */
export interface ApplicationPart {
  /** From the directory of the application: `pg_wal`, `pg_tblspc/16385`. */
  readonly name: string;
  /** The volume, as it was called when the snapshot was taken. */
  readonly volume: string;
  /** From the directory of that volume. */
  readonly path: string;
}

/** What the intents of several rollbacks have in common that happen together or not at all. */
export interface RollbackTogether extends Together {
  /** The group of the snapshots that keep what is replaced. */
  readonly group: string;
  /** The id of the staged entry of the lead: whether that was exchanged decides for all. */
  readonly leadEntry: string;
  /** Where in the lead's tree something keeps the application from starting until all were exchanged. */
  readonly fences: readonly string[];
}
