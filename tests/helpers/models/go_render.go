// Renders Go templates with the real engine: JSON lines in, JSON lines out, one render per line.
//
// In:  {"template": "...", "data": {...}, "today": "2024-05-06", "structs": true}
// Out: {"text": "base64", "error": "..."}
//
// With "structs" the messages and tools of the data become structs, as the server passes them;
// the functions and options are those that a Modelfile TEMPLATE can use.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"text/template"
	"time"
)

type request struct {
	Template string         `json:"template"`
	Data     map[string]any `json:"data"`
	Today    string         `json:"today"`
	Structs  bool           `json:"structs"`
}

type answer struct {
	Text  []byte `json:"text"`
	Error string `json:"error"`
}

type message struct {
	Role       string
	Content    string
	Thinking   string
	Images     []any
	ToolCalls  []toolCall
	ToolName   string
	ToolCallID string
}

type toolCall struct {
	ID       string
	Function struct {
		Index     int
		Name      string
		Arguments arguments
	}
}

type arguments map[string]any

func (a arguments) String() string { return inJSON(a) }

type tools []tool

func (t tools) String() string { return inJSON(t) }

type tool struct {
	Type     string       `json:"type"`
	Items    any          `json:"items,omitempty"`
	Function toolFunction `json:"function"`
}

func (t tool) String() string { return inJSON(t) }

type toolFunction struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

func (f toolFunction) String() string { return inJSON(f) }

type parameters struct {
	Type       string              `json:"type"`
	Defs       any                 `json:"$defs,omitempty"`
	Items      any                 `json:"items,omitempty"`
	Required   []string            `json:"required,omitempty"`
	Properties map[string]property `json:"properties"`
}

func (p parameters) String() string { return inJSON(p) }

type property struct {
	AnyOf       []property          `json:"anyOf,omitempty"`
	Type        any                 `json:"type,omitempty"`
	Items       any                 `json:"items,omitempty"`
	Description string              `json:"description,omitempty"`
	Enum        []any               `json:"enum,omitempty"`
	Properties  map[string]property `json:"properties,omitempty"`
	Required    []string            `json:"required,omitempty"`
}

func inJSON(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// numbers turns json.Number into int where it is one, else float64.
func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	}
	return value
}

// as turns plain data into the structs of `to`.
func as(items any, to any) {
	text, err := json.Marshal(items)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		panic(err)
	}
}

func render(r request) (string, error) {
	today, err := time.Parse("2006-01-02", r.Today)
	if err != nil {
		return "", err
	}
	functions := template.FuncMap{
		"json":          inJSON,
		"currentDate":   func(...string) string { return today.Format("2006-01-02") },
		"yesterdayDate": func(...string) string { return today.AddDate(0, 0, -1).Format("2006-01-02") },
	}
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(r.Template)
	if err != nil {
		return "", err
	}
	data, _ := numbers(r.Data).(map[string]any)
	if r.Structs {
		var m []*message
		var t tools
		as(data["Messages"], &m)
		as(data["Tools"], &t)
		data["Messages"], data["Tools"] = m, t
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, data)
	return out.String(), err
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	decoder := json.NewDecoder(in)
	decoder.UseNumber()
	for decoder.More() {
		var r request
		if err := decoder.Decode(&r); err != nil {
			panic(err)
		}
		text, err := render(r)
		a := answer{Text: []byte(text)}
		if err != nil {
			a.Error = err.Error()
		}
		out.Encode(a)
	}
}
