-- What a process does; those of earlier releases do everything.

alter table gateway_process add column roles text not null default 'api gateway scheduler';
