-- Most messages are done, or are not due by themselves: they need no place in the indexes of times.

drop index outbox_message_due;

create index outbox_message_due on outbox_message (next_at) where next_at is not null;

drop index outbox_message_give_up;

create index outbox_message_give_up on outbox_message (give_up_at) where give_up_at is not null;
