-- Texts of messages are sealed: links in them let people approve. Those from before stay in `message` until they are gone.
alter table topic_message add column sealed blob;
