/** Said wherever somebody chooses it. */
export const priceOfNocow =
  'coppice: note: what is nodatacow has no checksums, so that a scrub can not see damage and flipped bits are read back as good data, and no compression. After each snapshot, each of its blocks is copied once all the same, when it is written to: measured with pgbench, nodatacow was 17 % faster without snapshots, and 3 % with one every 10 s (docs/trees.md).';
