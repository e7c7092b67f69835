-- How a node's associations stand on it, as their owner tells: for lists and filters of nodes.
alter table node add column association_status text;
alter table node add column association_counts text;
alter table node add column associations_ran_at bigint;
alter table node add column associations_succeeded_at bigint;
