"""JSON payloads of the control channel's messages, as structs that are checked while they are read.

Only the members that the server looks at; what agents add besides is ignored.
"""

from functools import lru_cache

import msgspec

AGENT_JOB = "agent_job"
AGENT_JOB_ACK = "agent_job_ack"
AGENT_JOB_REPLY = "agent_job_reply"
AGENT_JOB_REPLY_ACK = "agent_job_reply_ack"
AGENT_TASK_COMPLETE = "agent_task_complete"
AGENT_TASK_ACKNOWLEDGE = "agent_task_acknowledge"
EXTENSIONS = "pilothouse_extensions"
AGENT_STATISTICS = frozenset({"agent_telemetry", "agent_update_result"})
"""Expected, and of no interest."""


class AgentJobAck(msgspec.Struct):
    """agent_job_ack: whether the node has taken a job."""

    job_id: str = msgspec.field(name="jobId")
    status_code: str = msgspec.field(name="statusCode")
    error_message: str = msgspec.field(name="errorMessage", default="")


class AgentJobReply(msgspec.Struct):
    """agent_job_reply: progress or results."""

    job_id: str = msgspec.field(name="jobId")
    content: str


class AgentJobReplyAck(msgspec.Struct):
    """agent_job_reply_ack: the reply is stored."""

    job_id: str = msgspec.field(name="jobId")
    acknowledged_message_id: str = msgspec.field(name="acknowledgedMessageId")


class AgentTaskAcknowledge(msgspec.Struct):
    """agent_task_acknowledge: receipt of an agent_task_complete."""

    schema: int = msgspec.field(name="SchemaVersion")
    message_id: str = msgspec.field(name="MessageId")
    task_id: str = msgspec.field(name="TaskId")
    topic: str = msgspec.field(name="Topic")


class OpenControlChannel(msgspec.Struct):
    """The text frame that opens a control channel."""

    token: str = msgspec.field(name="TokenValue")
    extensions: dict[str, int] = msgspec.field(name="Extensions", default_factory=dict)
    """Of our own agent: what it can do beyond the protocol, with the highest version of each."""


read_ack = msgspec.json.Decoder(AgentJobAck).decode
read_reply = msgspec.json.Decoder(AgentJobReply).decode
read_open = msgspec.json.Decoder(OpenControlChannel).decode
write = msgspec.json.Encoder().encode


@lru_cache(maxsize=16)
def _written(text: str) -> bytes:
    return write(text)


def job(job_id: str, topic: str, content: str) -> bytes:
    """agent_job: a command, or a cancel, for the node. The content, which many nodes get, is written once."""
    return b'{"SchemaVersion":1,"JobId":%b,"Topic":%b,"Content":%b}' % (write(job_id), write(topic), _written(content))


def node_of(job_id: str) -> str:
    """The node in a JobId or MessageId (`aws.ssm.<id>.<node>`): what stands after the last dot."""
    return job_id.rpartition(".")[2]
