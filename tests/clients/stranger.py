"""A client by somebody who has the contract and nothing else: no import of Parley, stubs generated from protos/ alone.

    python stranger.py ORCHESTRATOR_ADDRESS  (with the generated stubs on PYTHONPATH)

Holds a conversation of three turns and prints what was answered, a line each.
"""

import sys

import grpc
from parley.agent.v1 import agent_service_pb2 as agent
from parley.agent.v1 import agent_service_pb2_grpc as agent_grpc
from parley.common.v1 import chat_pb2

TURNS = ("My name is Ada.", "I live in London.", "What is my name?")


def requests():
    yield agent.ConverseRequest(
        session_update=agent.SessionUpdate(
            session=agent.SessionConfig(instructions="Remember what you are told.", output_modality=2)
        )
    )
    for text in TURNS:
        item = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)])
        yield agent.ConverseRequest(conversation_item_create=agent.ConversationItemCreate(item=item))
        yield agent.ConverseRequest(response_create=agent.ResponseCreate())
        answered.acquire()


if __name__ == "__main__":
    import threading

    answered = threading.Semaphore(0)
    with grpc.insecure_channel(sys.argv[1]) as channel:
        for event in agent_grpc.VoiceAgentServiceStub(channel).Converse(requests()):
            if event.HasField("response_done"):
                print(event.response_done.transcript.replace("\n", " "), flush=True)
                answered.release()
