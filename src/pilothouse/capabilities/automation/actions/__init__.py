"""The actions that steps can do, by name. One is one file; `interface` says what an action is and how it is asked."""

from collections.abc import Mapping
from typing import Final

from pilothouse.capabilities.automation.actions.approve import Approve
from pilothouse.capabilities.automation.actions.branch import Branch
from pilothouse.capabilities.automation.actions.change_instance_state import ChangeInstanceState
from pilothouse.capabilities.automation.actions.create_tags import CreateTags
from pilothouse.capabilities.automation.actions.execute_automation import ExecuteAutomation
from pilothouse.capabilities.automation.actions.execute_aws_api import (
    AssertAwsResourceProperty,
    ExecuteAwsApi,
    WaitForAwsResourceProperty,
)
from pilothouse.capabilities.automation.actions.execute_script import ExecuteScript
from pilothouse.capabilities.automation.actions.execute_state_machine import ExecuteStateMachine
from pilothouse.capabilities.automation.actions.images import CopyImage, CreateImage, DeleteImage
from pilothouse.capabilities.automation.actions.interface import Action
from pilothouse.capabilities.automation.actions.invoke_lambda_function import InvokeLambdaFunction
from pilothouse.capabilities.automation.actions.invoke_webhook import InvokeWebhook
from pilothouse.capabilities.automation.actions.loop import Loop
from pilothouse.capabilities.automation.actions.pause import Pause
from pilothouse.capabilities.automation.actions.run_command import RunCommand
from pilothouse.capabilities.automation.actions.run_instances import RunInstances
from pilothouse.capabilities.automation.actions.sleep import Sleep
from pilothouse.capabilities.automation.actions.stacks import CreateStack, DeleteStack
from pilothouse.capabilities.automation.actions.update_variable import UpdateVariable

_ALL: Final[tuple[Action, ...]] = (
    Approve(),
    AssertAwsResourceProperty(),
    Branch(),
    ChangeInstanceState(),
    CopyImage(),
    CreateImage(),
    CreateStack(),
    CreateTags(),
    DeleteImage(),
    DeleteStack(),
    ExecuteAutomation(),
    ExecuteAwsApi(),
    ExecuteScript(),
    ExecuteStateMachine(),
    InvokeLambdaFunction(),
    InvokeWebhook(),
    Loop(),
    Pause(),
    RunCommand(),
    RunInstances(),
    Sleep(),
    UpdateVariable(),
    WaitForAwsResourceProperty(),
)
ACTIONS: Final[Mapping[str, Action]] = {each.name: each for each in _ALL}
"""Every action that there is."""
