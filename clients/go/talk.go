// Talk says a recording to Parley and writes what it answers: see ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	agent "parley/agent/v1"
	common "parley/common/v1"
)

const (
	frame    = 20 * time.Millisecond
	quiet    = 2 * time.Second
	patience = 30 * time.Second
	answerHz = 24000
)

// A chunk of the answer that is to be played; offset is in bytes of its item.
type chunk struct {
	item   string
	offset int
	audio  []byte
}

type conversation struct {
	stream     agent.VoiceAgentService_ConverseClient
	waiting    []chunk
	played     []byte
	unfinished map[string]bool // to come: an answer, the words of an utterance, the end of a response
	heardAt    time.Time
}

// Talk says the question: every 20 ms a frame of it goes up, and a frame of the answer is played.
func (c *conversation) talk(question []byte, hertz int) error {
	events, ended := make(chan *agent.ConverseResponse), make(chan error, 1)
	go func() {
		for {
			event, err := c.stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			events <- event
		}
	}()
	ticks := time.NewTicker(frame)
	for {
		select {
		case event := <-events:
			if err := c.handle(event); err != nil {
				return err
			}
		case err := <-ended:
			if err == io.EOF {
				return nil
			}
			return err
		case <-ticks.C:
			audio := make([]byte, frameBytes(hertz)) // silence, once all is said
			question = question[copy(audio, question):]
			c.send(&agent.ConverseRequest{Event: &agent.ConverseRequest_InputAudioBufferAppend{
				InputAudioBufferAppend: &agent.InputAudioBufferAppend{Audio: audio},
			}})
			c.play(frameBytes(answerHz))
			silence := time.Since(c.heardAt)
			if len(question) == 0 && silence > patience {
				return errors.New("DEADLINE_EXCEEDED: the server has fallen silent")
			}
			if len(question)+len(c.unfinished)+len(c.waiting) == 0 && silence > quiet {
				ticks.Stop()
				c.stream.CloseSend() // and the server ends the session
			}
		}
	}
}

// Handle prints an event and does what a client has to do.
func (c *conversation) handle(response *agent.ConverseResponse) error {
	c.heardAt = time.Now()
	switch event := response.Event.(type) {
	case *agent.ConverseResponse_InputAudioBufferSpeechStarted:
		fmt.Println("speech started")
		c.unfinished[event.InputAudioBufferSpeechStarted.ItemId] = true
		c.stopPlaying()
	case *agent.ConverseResponse_InputAudioTranscriptionCompleted:
		said := event.InputAudioTranscriptionCompleted
		fmt.Println("you:", said.Transcript)
		delete(c.unfinished, said.ItemId)
		if said.Transcript != "" && len(c.unfinished) == 0 {
			c.unfinished["answer"] = true
		}
	case *agent.ConverseResponse_ResponseCreated:
		delete(c.unfinished, "answer")
		c.unfinished[event.ResponseCreated.ResponseId] = true
	case *agent.ConverseResponse_ResponseOutputAudioDelta:
		delta := event.ResponseOutputAudioDelta
		samples := int(delta.Offset.AsDuration().Seconds()*answerHz + 0.5)
		c.waiting = append(c.waiting, chunk{delta.ItemId, 2 * samples, delta.Audio})
	case *agent.ConverseResponse_ResponseFunctionCall:
		call := event.ResponseFunctionCall.Call
		fmt.Println("call:", call.Name)
		c.unfinished["answer"] = true
		text := &common.ContentPart{Part: &common.ContentPart_Text{Text: time.Now().Format("It is 15:04.")}}
		item := &common.Message{Role: common.Role_ROLE_TOOL, ToolCallId: call.Id, Content: []*common.ContentPart{text}}
		c.send(&agent.ConverseRequest{Event: &agent.ConverseRequest_ConversationItemCreate{
			ConversationItemCreate: &agent.ConversationItemCreate{Item: item},
		}})
	case *agent.ConverseResponse_ResponseDone:
		done := event.ResponseDone
		outcome := strings.ToLower(strings.TrimPrefix(done.Status.String(), "RESPONSE_STATUS_"))
		fmt.Printf("parley (%s): %s\n", outcome, done.Transcript)
		delete(c.unfinished, done.ResponseId)
	case *agent.ConverseResponse_Error:
		if event.Error.ClientEventId != "truncate" { // that one: the answer had just ended, nothing is lost
			return fmt.Errorf("%s: %s", strings.TrimPrefix(event.Error.Reason.String(), "ERROR_REASON_"), event.Error.Message)
		}
	}
	return nil
}

func (c *conversation) play(size int) {
	for size > 0 && len(c.waiting) > 0 {
		next := &c.waiting[0]
		part := size
		if part > len(next.audio) {
			part = len(next.audio)
		}
		c.played = append(c.played, next.audio[:part]...)
		size, next.offset, next.audio = size-part, next.offset+part, next.audio[part:]
		if len(next.audio) == 0 {
			c.waiting = c.waiting[1:]
		}
	}
}

// StopPlaying drops what was not played, and says how far the item was.
func (c *conversation) stopPlaying() {
	if len(c.waiting) == 0 {
		return
	}
	cut := c.waiting[0]
	c.waiting = nil
	played := time.Duration(cut.offset) * time.Second / (2 * answerHz)
	c.send(&agent.ConverseRequest{EventId: "truncate", Event: &agent.ConverseRequest_ConversationItemTruncate{
		ConversationItemTruncate: &agent.ConversationItemTruncate{ItemId: cut.item, AudioEnd: durationpb.New(played)},
	}})
}

// Send sends an event; where that fails, Recv says why.
func (c *conversation) send(request *agent.ConverseRequest) { _ = c.stream.Send(request) }

func frameBytes(hertz int) int { return 2 * hertz * int(frame) / int(time.Second) }

func pcm(hertz int) *common.AudioFormat {
	return &common.AudioFormat{Encoding: common.AudioEncoding_AUDIO_ENCODING_PCM_S16LE, SampleRateHertz: uint32(hertz)}
}

// Converse says a question to the server at target; the answer is what was played.
func converse(target, language string, clock bool, question []byte, hertz int) ([]byte, error) {
	connection, err := grpc.Dial(target, grpc.WithInsecure())
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	stream, err := agent.NewVoiceAgentServiceClient(connection).Converse(context.Background())
	if err != nil {
		return nil, err
	}
	config := &agent.SessionConfig{InputAudioFormat: pcm(hertz), OutputAudioFormat: pcm(answerHz)}
	if language != "" {
		config.LanguageCode = &language
	}
	if clock {
		config.Tools = []*common.Tool{
			{Name: "get_time", Description: "Tells what time it is.", ParametersJsonSchema: `{"type": "object"}`},
		}
	}
	c := &conversation{stream: stream, unfinished: map[string]bool{"answer": true}, heardAt: time.Now()}
	c.send(&agent.ConverseRequest{Event: &agent.ConverseRequest_SessionUpdate{
		SessionUpdate: &agent.SessionUpdate{Session: config},
	}})
	err = c.talk(question, hertz)
	return c.played, err
}

// Line is STATUS REASON: message, as far as they are known.
func line(err error) string {
	failure, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	reason := ""
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = " " + info.Reason
		}
	}
	return fmt.Sprintf("%s%s: %s", code.Code(failure.Code()), reason, failure.Message())
}

func run() error {
	options := flag.NewFlagSet("talk", flag.ContinueOnError)
	options.SetOutput(io.Discard)
	output := options.String("o", "", "")
	language := options.String("language", "", "")
	clock := options.Bool("clock", false, "")
	if len(os.Args) < 3 || options.Parse(os.Args[3:]) != nil || *output == "" {
		return errors.New("usage: talk HOST:PORT QUESTION.wav -o ANSWER.wav [--language en] [--clock]")
	}
	question, hertz, err := readWav(os.Args[2])
	if err != nil {
		return err
	}
	answer, err := converse(os.Args[1], *language, *clock, question, hertz)
	if err != nil {
		return err
	}
	if len(answer) == 0 {
		return errors.New("there was no answer")
	}
	return writeWav(*output, answer, answerHz)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "talk:", line(err))
		os.Exit(1)
	}
}
