<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en">
    <context>
        <name>LoRA Studio</name>
        <message>
            <source>(answer of {name})</source>
            <translation>(Antwort von {name})</translation>
        </message>
        <message>
            <source>(empty)</source>
            <translation>(leer)</translation>
        </message>
        <message>
            <source>(none)</source>
            <translation>(keine)</translation>
        </message>
        <message>
            <source>/no_think in a user message</source>
            <translation>/no_think in einer Nutzernachricht</translation>
        </message>
        <message>
            <source>/no_think in the system message</source>
            <translation>/no_think in der Systemnachricht</translation>
        </message>
        <message>
            <source>1 for a completion in a language.</source>
            <translation>1 für eine Antwort in einer bestimmten Sprache.</translation>
        </message>
        <message>
            <source>1 for a completion in which a regular expression matches.</source>
            <translation>1 für eine Antwort, auf die ein regulärer Ausdruck passt.</translation>
        </message>
        <message>
            <source>1 for a completion that contains a text, or the reference.</source>
            <translation>1 für eine Antwort, die einen Text oder die Referenz enthält.</translation>
        </message>
        <message>
            <source>1 for a completion that equals the reference.</source>
            <translation>1 für eine Antwort, die der Referenz gleicht.</translation>
        </message>
        <message>
            <source>1 for a completion that is JSON and follows a schema.</source>
            <translation>1 für eine Antwort, die JSON ist und einem Schema entspricht.</translation>
        </message>
        <message>
            <source>1 for a completion whose last number is that of the reference.</source>
            <translation>1 für eine Antwort, deren letzte Zahl die der Referenz ist.</translation>
        </message>
        <message>
            <source>1 for a completion whose length is in a range.</source>
            <translation>1 für eine Antwort, deren Länge in einem Bereich liegt.</translation>
        </message>
        <message>
            <source>1 to 4 B</source>
            <translation>1 bis 4 B</translation>
        </message>
        <message>
            <source>1 × rank</source>
            <translation>1 × Rang</translation>
        </message>
        <message>
            <source>1.00 is the strength the adapter was trained with. Use the arrow keys to adjust it.</source>
            <translation>1,00 ist die Stärke, mit der der Adapter trainiert wurde. Ändern Sie sie mit den Pfeiltasten.</translation>
        </message>
        <message>
            <source>16-bit</source>
            <translation>16 Bit</translation>
        </message>
        <message>
            <source>2 × rank</source>
            <translation>2 × Rang</translation>
        </message>
        <message>
            <source>4 to 9 B</source>
            <translation>4 bis 9 B</translation>
        </message>
        <message>
            <source>4-bit</source>
            <translation>4 Bit</translation>
        </message>
        <message>
            <source>4-bit (QLoRA)</source>
            <translation>4 Bit (QLoRA)</translation>
        </message>
        <message>
            <source>4-bit type</source>
            <translation>4-Bit-Typ</translation>
        </message>
        <message>
            <source>4-bit weights</source>
            <translation>4-Bit-Gewichte</translation>
        </message>
        <message>
            <source>4-bit weights aren't supported on this device</source>
            <translation>4-Bit-Gewichte werden auf diesem Gerät nicht unterstützt</translation>
        </message>
        <message>
            <source>4-bit, micro-batch of 1: slower, much less memory</source>
            <translation>4-Bit, Mikro-Batch von 1: langsamer, viel weniger Speicher</translation>
        </message>
        <message>
            <source>60 steps to see whether training works</source>
            <translation>60 Schritte, um zu sehen, ob das Training funktioniert</translation>
        </message>
        <message>
            <source>8-bit</source>
            <translation>8 Bit</translation>
        </message>
        <message>
            <source>8-bit AdamW</source>
            <translation>AdamW in 8 Bit</translation>
        </message>
        <message>
            <source>9 to 16 B</source>
            <translation>9 bis 16 B</translation>
        </message>
        <message>
            <source>90th percentile</source>
            <translation>90. Perzentil</translation>
        </message>
        <message>
            <source>95 % interval</source>
            <translation>95-%-Intervall</translation>
        </message>
        <message>
            <source>99th percentile</source>
            <translation>99. Perzentil</translation>
        </message>
        <message>
            <source>A GGUF file. Its weights are dequantized to 16-bit for training.</source>
            <translation>Eine GGUF-Datei. Ihre Gewichte werden für das Training auf 16 Bit dequantisiert.</translation>
        </message>
        <message>
            <source>A Hub ID looks like organization/name.</source>
            <translation>Eine Hub-ID hat die Form organisation/name.</translation>
        </message>
        <message>
            <source>A Hugging Face model folder on this computer.</source>
            <translation>Ein Hugging-Face-Modellordner auf diesem Computer.</translation>
        </message>
        <message>
            <source>A Hugging Face model folder, a .gguf file, a Hub ID such as org/name, or builtin:SmolLM2-135M-Instruct for the small built-in model.</source>
            <translation>Ein Hugging-Face-Modellordner, eine .gguf-Datei, eine Hub-ID wie org/name oder builtin:SmolLM2-135M-Instruct für das kleine mitgelieferte Modell.</translation>
        </message>
        <message>
            <source>A Modelfile can't contain this {kind}: {value}.</source>
            <translation>Ein Modelfile kann das nicht enthalten ({kind}): {value}.</translation>
        </message>
        <message>
            <source>A and B of {module} aren't matrices</source>
            <translation>A und B von {module} sind keine Matrizen</translation>
        </message>
        <message>
            <source>A base model is a folder in Hugging Face format with safetensors weights, a model on the Hub, or a GGUF file. The Model page shows its details.</source>
            <translation>Ein Basismodell ist ein Ordner im Hugging-Face-Format mit safetensors-Gewichten, ein Modell auf dem Hub oder eine GGUF-Datei. Die Seite „Modell“ zeigt die Details.</translation>
        </message>
        <message>
            <source>A chat template defines how a conversation becomes text. Ollama uses a different template language from Hugging Face. A converted template is used only if it is verified to produce the same text.</source>
            <translation>Eine Chat-Vorlage legt fest, wie aus einem Gespräch Text wird. Ollama verwendet eine andere Vorlagensprache als Hugging Face. Eine umgewandelte Vorlage wird nur verwendet, wenn geprüft ist, dass sie denselben Text erzeugt.</translation>
        </message>
        <message>
            <source>A classifier isn't exported as GGUF, because llama.cpp and Ollama have no head for its labels.</source>
            <translation>Ein Klassifikator wird nicht als GGUF exportiert, weil llama.cpp und Ollama keinen Kopf für seine Labels haben.</translation>
        </message>
        <message>
            <source>A classifier predicts labels and can't write answers, so it can't be used in a chat. llama.cpp and Ollama have no classification head for this kind of model, so it can't be exported or run there.</source>
            <translation>Ein Klassifikator sagt Labels voraus und kann keine Antworten schreiben. Deshalb lässt er sich nicht im Chat verwenden. llama.cpp und Ollama haben für diese Modelle keinen Klassifikationskopf, also lässt er sich auch nicht exportieren und läuft dort nicht.</translation>
        </message>
        <message>
            <source>A cluster folder contains everything it needs, with relative paths. Copy the whole folder and start it with the command in its README.md.</source>
            <translation>Ein Cluster-Ordner enthält alles Nötige mit relativen Pfaden. Kopieren Sie den ganzen Ordner und starten Sie ihn mit dem Befehl aus seiner README.md.</translation>
        </message>
        <message>
            <source>A column. Rows with the same value stay on the same side of the validation split. Duplicates and near-duplicates always do.</source>
            <translation>Eine Spalte. Zeilen mit gleichem Wert bleiben auf derselben Seite der Validierungsaufteilung. Duplikate und Beinahe-Duplikate immer.</translation>
        </message>
        <message>
            <source>A common value is {usual}.</source>
            <translation>Üblich ist {usual}.</translation>
        </message>
        <message>
            <source>A disk becomes read-only when it reports errors or is disconnected. Check the disk and mount it again, or choose a folder on another disk, then start the setup again. Completed downloads are kept.</source>
            <translation>Eine Festplatte wird schreibgeschützt, wenn sie Fehler meldet oder getrennt wird. Prüfen Sie sie und hängen Sie sie neu ein oder wählen Sie einen Ordner auf einer anderen Festplatte und starten Sie die Einrichtung erneut. Fertige Downloads bleiben erhalten.</translation>
        </message>
        <message>
            <source>A few hundred good rows are enough for a tone or a format, about a thousand for a task.</source>
            <translation>Ein paar hundert gute Zeilen genügen für einen Ton oder ein Format, etwa tausend für eine Aufgabe.</translation>
        </message>
        <message>
            <source>A folder for a cluster is already being written.</source>
            <translation>Ein Ordner für einen Cluster wird bereits geschrieben.</translation>
        </message>
        <message>
            <source>A folder for a cluster is being copied. An incomplete copy can't be used.</source>
            <translation>Ein Ordner für einen Cluster wird kopiert. Eine unvollständige Kopie ist unbrauchbar.</translation>
        </message>
        <message>
            <source>A good default: start here</source>
            <translation>Guter Ausgangspunkt: hier beginnen</translation>
        </message>
        <message>
            <source>A good first try: trains in minutes, even without a GPU. English.</source>
            <translation>Gut für einen ersten Versuch: trainiert in Minuten, auch ohne GPU. Englisch.</translation>
        </message>
        <message>
            <source>A grid search creates one run for each combination of values and adds the runs to the queue. The project itself doesn't change.</source>
            <translation>Eine Rastersuche legt für jede Kombination von Werten einen Lauf an und stellt die Läufe in die Warteschlange. Das Projekt selbst ändert sich nicht.</translation>
        </message>
        <message>
            <source>A job is already running.</source>
            <translation>Es läuft bereits ein Auftrag.</translation>
        </message>
        <message>
            <source>A job is using the GPU; chat runs on the CPU.</source>
            <translation>Ein Auftrag nutzt die GPU; der Chat läuft auf der CPU.</translation>
        </message>
        <message>
            <source>A learning rate of {rate} is high for {method}: the model forgets how to answer.</source>
            <translation>Eine Lernrate von {rate} ist hoch für {method}: Das Modell verlernt zu antworten.</translation>
        </message>
        <message>
            <source>A learning rate of {rate} is too low to learn much with {optimizer}.</source>
            <translation>Eine Lernrate von {rate} ist zu niedrig, um mit {optimizer} viel zu lernen.</translation>
        </message>
        <message>
            <source>A learning rate of {rate} usually makes LoRA training with {optimizer} diverge.</source>
            <translation>Bei einer Lernrate von {rate} divergiert LoRA-Training mit {optimizer} meist.</translation>
        </message>
        <message>
            <source>A limit of {limit} skips {rows} of the rows. The longest row has {longest} tokens.</source>
            <translation>Eine Grenze von {limit} überspringt {rows} der Zeilen. Die längste Zeile hat {longest} Tokens.</translation>
        </message>
        <message>
            <source>A limit of {limit} truncates no rows. The longest row has {longest} tokens.</source>
            <translation>Eine Grenze von {limit} kürzt keine Zeile. Die längste Zeile hat {longest} Tokens.</translation>
        </message>
        <message>
            <source>A limit of {limit} truncates {rows} of the rows and drops {tokens} of the trained tokens. The longest row has {longest} tokens.</source>
            <translation>Eine Grenze von {limit} kürzt {rows} der Zeilen und verwirft {tokens} der trainierten Tokens. Die längste Zeile hat {longest} Tokens.</translation>
        </message>
        <message>
            <source>A lot of new material</source>
            <translation>Viel neuer Stoff</translation>
        </message>
        <message>
            <source>A model on the Hugging Face Hub. It is downloaded once into the shared Hugging Face cache.</source>
            <translation>Ein Modell auf dem Hugging Face Hub. Es wird einmal in den gemeinsamen Hugging-Face-Cache heruntergeladen.</translation>
        </message>
        <message>
            <source>A model with this name already exists.</source>
            <translation>Ein Modell mit diesem Namen gibt es bereits.</translation>
        </message>
        <message>
            <source>A new domain</source>
            <translation>Ein neues Fachgebiet</translation>
        </message>
        <message>
            <source>A pattern matches somewhere in the answer.</source>
            <translation>Ein Muster passt irgendwo in der Antwort.</translation>
        </message>
        <message>
            <source>A process can't use the GPU after such an error, so each job starts a new one. On Linux with an NVIDIA GPU, `nvidia-smi` shows whether the driver still finds the GPU, and the system's log (`journalctl -k`) gives the reason as an Xid number.</source>
            <translation>Nach einem solchen Fehler kann ein Prozess die GPU nicht mehr verwenden, deshalb startet jeder Auftrag einen neuen. Unter Linux mit einer NVIDIA-GPU zeigt `nvidia-smi`, ob der Treiber die GPU noch findet, und das Systemprotokoll (`journalctl -k`) nennt den Grund als Xid-Nummer.</translation>
        </message>
        <message>
            <source>A project contains a model, your dataset, and all of its training runs. Drop a data file here to start one. The sample project shows the whole workflow in a few minutes, without a GPU. Another one shows how a model learns from rewards for its own answers.</source>
            <translation>Ein Projekt enthält ein Modell, Ihren Datensatz und alle Trainingsläufe. Legen Sie eine Datei mit Daten hier ab, um eines anzulegen. Das Beispielprojekt zeigt den ganzen Ablauf in wenigen Minuten, ohne GPU. Ein weiteres zeigt, wie ein Modell aus Belohnungen für seine eigenen Antworten lernt.</translation>
        </message>
        <message>
            <source>A project is a folder with one text file and the runs next to it. The file is replaced in one step, so a full disk or a crash never leaves it incomplete.</source>
            <translation>Ein Projekt ist ein Ordner mit einer Textdatei und den Läufen daneben. Die Datei wird in einem Schritt ersetzt, sodass eine volle Festplatte oder ein Absturz sie nie unvollständig hinterlässt.</translation>
        </message>
        <message>
            <source>A prompt is computed once for several answers.</source>
            <translation>Ein Prompt wird für mehrere Antworten nur einmal berechnet.</translation>
        </message>
        <message>
            <source>A proxy or an outdated mirror may have changed the file. Try another network or index.</source>
            <translation>Ein Proxy oder ein veralteter Spiegelserver kann die Datei verändert haben. Versuchen Sie ein anderes Netzwerk oder einen anderen Index.</translation>
        </message>
        <message>
            <source>A quantization changes all weights, so more differences are expected.</source>
            <translation>Eine Quantisierung verändert alle Gewichte, deshalb sind mehr Abweichungen zu erwarten.</translation>
        </message>
        <message>
            <source>A quantization with more bits, such as Q8_0, stays closer to the trained model. An importance matrix also helps.</source>
            <translation>Eine Quantisierung mit mehr Bits, etwa Q8_0, bleibt näher am trainierten Modell. Auch eine Importance-Matrix hilft.</translation>
        </message>
        <message>
            <source>A question or an answer is empty in {rows}. The model would learn to answer nothing.</source>
            <translation>In {rows} ist eine Frage oder eine Antwort leer. Das Modell würde lernen, nichts zu antworten.</translation>
        </message>
        <message>
            <source>A reward model scores responses and can't write them, so it can't be merged, exported as GGUF, run in Ollama, or used in a chat.</source>
            <translation>Ein Belohnungsmodell bewertet Antworten und kann keine schreiben. Es lässt sich daher weder zusammenführen noch als GGUF exportieren, in Ollama ausführen oder im Chat verwenden.</translation>
        </message>
        <message>
            <source>A reward model, classifier, or embedding model doesn't write answers, so they can't decide on the best adapter.</source>
            <translation>Belohnungsmodelle, Klassifikatoren und Embedding-Modelle schreiben keine Antworten; deshalb können Antworten nicht über den besten Adapter entscheiden.</translation>
        </message>
        <message>
            <source>A reward of this project is a Python function. It runs in a process of its own, without network and with limits of time and memory, but it can read and change your files. Only allow it if you trust its author.</source>
            <translation>Eine Belohnung dieses Projekts ist eine Python-Funktion. Sie läuft in einem eigenen Prozess, ohne Netzwerk und mit Grenzen für Zeit und Speicher, kann aber Ihre Dateien lesen und ändern. Erlauben Sie sie nur, wenn Sie ihrem Autor vertrauen.</translation>
        </message>
        <message>
            <source>A run is a folder with everything about one training. A running one is locked; you can merge, export, and delete the others.</source>
            <translation>Ein Lauf ist ein Ordner mit allem zu einem Training. Während er läuft, ist er gesperrt; die anderen lassen sich zusammenführen, exportieren und löschen.</translation>
        </message>
        <message>
            <source>A server didn't report its file sizes: {reason}.</source>
            <translation>Ein Server hat die Größe seiner Dateien nicht angegeben: {reason}.</translation>
        </message>
        <message>
            <source>A small model learns to answer like a lighthouse keeper, from 254 conversations.</source>
            <translation>Ein kleines Modell lernt aus 254 Gesprächen, wie ein Leuchtturmwärter zu antworten.</translation>
        </message>
        <message>
            <source>A small model learns to write sums as equations, from rewards for its own answers.</source>
            <translation>Ein kleines Modell lernt aus Belohnungen für seine eigenen Antworten, Rechenaufgaben als Gleichung zu schreiben.</translation>
        </message>
        <message>
            <source>A tag is a name such as think, without brackets.</source>
            <translation>Ein Tag ist ein Name wie think, ohne Klammern.</translation>
        </message>
        <message>
            <source>A tag is listed twice.</source>
            <translation>Ein Tag kommt zweimal vor.</translation>
        </message>
        <message>
            <source>A teacher doesn't know new tokens.</source>
            <translation>Ein Lehrermodell kennt keine neuen Token.</translation>
        </message>
        <message>
            <source>A temporary merged copy is written for the export: {reason}.</source>
            <translation>Für den Export wird vorübergehend eine zusammengeführte Kopie geschrieben: {reason}.</translation>
        </message>
        <message>
            <source>A test training run ended early.</source>
            <translation>Ein Testtraining endete vorzeitig.</translation>
        </message>
        <message>
            <source>A test training run failed: {reason}</source>
            <translation>Ein Testtraining ist fehlgeschlagen: {reason}</translation>
        </message>
        <message>
            <source>A text can have several of the labels {columns}. Each combination is a label of its own: {count} in {rows} rows checked.</source>
            <translation>Ein Text kann mehrere der Labels {columns} haben. Jede Kombination ist ein eigenes Label: {count} in {rows} geprüften Zeilen.</translation>
        </message>
        <message>
            <source>A tie counts as half a win.</source>
            <translation>Ein Unentschieden zählt als halber Sieg.</translation>
        </message>
        <message>
            <source>A tone or a format on a laptop. Eight languages.</source>
            <translation>Ein Ton oder Format auf dem Laptop. Acht Sprachen.</translation>
        </message>
        <message>
            <source>A worker process stopped unexpectedly, most likely because memory ran out.</source>
            <translation>Ein Worker-Prozess wurde unerwartet beendet, wahrscheinlich weil der Speicher nicht reichte.</translation>
        </message>
        <message>
            <source>AMD GPU (ROCm)</source>
            <translation>AMD-GPU (ROCm)</translation>
        </message>
        <message>
            <source>About LoRA Studio</source>
            <translation>Über LoRA Studio</translation>
        </message>
        <message>
            <source>About {setting}</source>
            <translation>Über {setting}</translation>
        </message>
        <message>
            <source>About {setting} (F1)</source>
            <translation>Über {setting} (F1)</translation>
        </message>
        <message>
            <source>About {steps}</source>
            <translation>Etwa {steps}</translation>
        </message>
        <message>
            <source>Absolute</source>
            <translation>Absolut</translation>
        </message>
        <message>
            <source>Accept the terms at {url}, then sign in with your token.</source>
            <translation>Akzeptieren Sie die Bedingungen auf {url} und melden Sie sich dann mit Ihrem Token an.</translation>
        </message>
        <message>
            <source>Access</source>
            <translation>Zugang</translation>
        </message>
        <message>
            <source>Access this project requests</source>
            <translation>Zugriffe, die dieses Projekt anfordert</translation>
        </message>
        <message>
            <source>Access token</source>
            <translation>Zugriffstoken</translation>
        </message>
        <message>
            <source>According to this computer's clock ({now}), the certificate of {host} isn't valid.</source>
            <translation>Nach der Uhr dieses Computers ({now}) ist das Zertifikat von {host} nicht gültig.</translation>
        </message>
        <message>
            <source>Accounts and servers</source>
            <translation>Konten und Server</translation>
        </message>
        <message>
            <source>Accuracy</source>
            <translation>Genauigkeit</translation>
        </message>
        <message>
            <source>Actions</source>
            <translation>Aktionen</translation>
        </message>
        <message>
            <source>Actions for the selected runs (also on right-click)</source>
            <translation>Aktionen für die ausgewählten Läufe (auch per Rechtsklick)</translation>
        </message>
        <message>
            <source>Activations</source>
            <translation>Aktivierungen</translation>
        </message>
        <message>
            <source>Active engine</source>
            <translation>Aktive Engine</translation>
        </message>
        <message>
            <source>Active, but no row needs it now.</source>
            <translation>Aktiv, aber derzeit braucht es keine Zeile.</translation>
        </message>
        <message>
            <source>AdEMAMix</source>
            <translation>AdEMAMix</translation>
        </message>
        <message>
            <source>AdEMAMix 8-bit</source>
            <translation>AdEMAMix 8 Bit</translation>
        </message>
        <message>
            <source>AdEMAMix 8-bit, paged</source>
            <translation>AdEMAMix 8 Bit, paged</translation>
        </message>
        <message>
            <source>AdEMAMix, paged</source>
            <translation>AdEMAMix, paged</translation>
        </message>
        <message>
            <source>Adafactor</source>
            <translation>Adafactor</translation>
        </message>
        <message>
            <source>Adagrad</source>
            <translation>Adagrad</translation>
        </message>
        <message>
            <source>AdamW</source>
            <translation>AdamW</translation>
        </message>
        <message>
            <source>AdamW 8-bit</source>
            <translation>AdamW 8 Bit</translation>
        </message>
        <message>
            <source>AdamW 8-bit, paged</source>
            <translation>AdamW 8 Bit, paged</translation>
        </message>
        <message>
            <source>AdamW suits nearly everything. 8-bit optimizers use a quarter of its memory. On CUDA, paged optimizers can move their state to main memory. Lion uses half the memory and needs a lower learning rate. Schedule-free optimizers need no schedule.</source>
            <translation>AdamW eignet sich für fast alles. 8-Bit-Optimizer brauchen ein Viertel seines Speichers. Paged-Varianten können ihren Zustand unter CUDA in den Hauptspeicher auslagern. Lion braucht halb so viel Speicher und eine niedrigere Lernrate. Schedule-free-Varianten brauchen keinen Lernratenplan.</translation>
        </message>
        <message>
            <source>AdamW, paged</source>
            <translation>AdamW, paged</translation>
        </message>
        <message>
            <source>AdamW, schedule-free</source>
            <translation>AdamW, schedule-free</translation>
        </message>
        <message>
            <source>Adapt all blocks</source>
            <translation>Alle Blöcke anpassen</translation>
        </message>
        <message>
            <source>Adapt all linear layers</source>
            <translation>Alle linearen Schichten anpassen</translation>
        </message>
        <message>
            <source>Adapt experts</source>
            <translation>Experten anpassen</translation>
        </message>
        <message>
            <source>Adapt more layers, and check the colored tokens of a few rows: some of them must be trained.</source>
            <translation>Passen Sie mehr Schichten an und prüfen Sie die farbigen Tokens einiger Zeilen: Einige davon müssen trainiert werden.</translation>
        </message>
        <message>
            <source>Adapted layers only</source>
            <translation>Nur angepasste Schichten</translation>
        </message>
        <message>
            <source>Adapter</source>
            <translation>Adapter</translation>
        </message>
        <message>
            <source>Adapter details</source>
            <translation>Adapterdetails</translation>
        </message>
        <message>
            <source>Adapter folder…</source>
            <translation>Adapterordner…</translation>
        </message>
        <message>
            <source>Adapter library</source>
            <translation>Adapterbibliothek</translation>
        </message>
        <message>
            <source>Adapter library…</source>
            <translation>Adapterbibliothek…</translation>
        </message>
        <message>
            <source>Adapter type</source>
            <translation>Adaptertyp</translation>
        </message>
        <message>
            <source>Adapter weight</source>
            <translation>Gewicht des Adapters</translation>
        </message>
        <message>
            <source>Adapters</source>
            <translation>Adapter</translation>
        </message>
        <message>
            <source>Adapters and their scales</source>
            <translation>Adapter und ihre Stärke</translation>
        </message>
        <message>
            <source>Adapters of these layers would have no effect: {names}.</source>
            <translation>Adapter dieser Schichten hätten keine Wirkung: {names}.</translation>
        </message>
        <message>
            <source>Adapters…</source>
            <translation>Adapter…</translation>
        </message>
        <message>
            <source>Add</source>
            <translation>Hinzufügen</translation>
        </message>
        <message>
            <source>Add a benchmark</source>
            <translation>Benchmark hinzufügen</translation>
        </message>
        <message>
            <source>Add a column with the answers. If they are in a column with another name, choose a format and map that column to the answer. To let the model answer and learn from rewards, choose the format “Prompts for rewards”.</source>
            <translation>Fügen Sie eine Spalte mit den Antworten hinzu. Stehen sie in einer Spalte mit anderem Namen, wählen Sie ein Format und ordnen Sie diese Spalte der Antwort zu. Soll das Modell selbst antworten und aus Belohnungen lernen, wählen Sie das Format „Prompts für Belohnungen“.</translation>
        </message>
        <message>
            <source>Add a file, a folder, or a Hub dataset above. Its rows appear here as chats and as tokens, with the loss mask highlighted.</source>
            <translation>Fügen Sie oben eine Datei, einen Ordner oder einen Hub-Datensatz hinzu. Die Zeilen erscheinen hier als Chats und als Tokens, mit markierter Loss-Maske.</translation>
        </message>
        <message>
            <source>Add a file, a folder, or a dataset from the Hugging Face Hub.</source>
            <translation>Fügen Sie eine Datei, einen Ordner oder einen Datensatz vom Hugging Face Hub hinzu.</translation>
        </message>
        <message>
            <source>Add a file, folder, or Hub dataset</source>
            <translation>Datei, Ordner oder Hub-Datensatz hinzufügen</translation>
        </message>
        <message>
            <source>Add a first line with the names of the columns, or map the columns by number.</source>
            <translation>Ergänzen Sie eine erste Zeile mit den Spaltennamen oder ordnen Sie die Spalten nach ihrer Nummer zu.</translation>
        </message>
        <message>
            <source>Add a model on a server</source>
            <translation>Modell auf einem Server hinzufügen</translation>
        </message>
        <message>
            <source>Add a reward that rates the answers, or choose another format for the data.</source>
            <translation>Fügen Sie eine Belohnung hinzu, die die Antworten bewertet, oder wählen Sie ein anderes Format für die Daten.</translation>
        </message>
        <message>
            <source>Add a reward that tells the completions apart, such as one for the format, or use prompts that the model sometimes completes well.</source>
            <translation>Fügen Sie eine Belohnung hinzu, die die Antworten unterscheidet, etwa eine für das Format, oder verwenden Sie Prompts, die das Modell manchmal gut beantwortet.</translation>
        </message>
        <message>
            <source>Add adapter…</source>
            <translation>Adapter hinzufügen…</translation>
        </message>
        <message>
            <source>Add all files of these conversations as one source.</source>
            <translation>Fügen Sie alle Dateien dieser Gespräche als eine Quelle hinzu.</translation>
        </message>
        <message>
            <source>Add column</source>
            <translation>Spalte hinzufügen</translation>
        </message>
        <message>
            <source>Add data</source>
            <translation>Daten hinzufügen</translation>
        </message>
        <message>
            <source>Add files of another format as sources of their own.</source>
            <translation>Fügen Sie Dateien mit anderem Format als eigene Quellen hinzu.</translation>
        </message>
        <message>
            <source>Add folder…</source>
            <translation>Ordner hinzufügen…</translation>
        </message>
        <message>
            <source>Add model</source>
            <translation>Modell hinzufügen</translation>
        </message>
        <message>
            <source>Add note at this step</source>
            <translation>Notiz zu diesem Schritt</translation>
        </message>
        <message>
            <source>Add reward</source>
            <translation>Belohnung hinzufügen</translation>
        </message>
        <message>
            <source>Add rows with other labels, or map another column to “label”.</source>
            <translation>Fügen Sie Zeilen mit anderen Labels hinzu, oder ordnen Sie „label“ eine andere Spalte zu.</translation>
        </message>
        <message>
            <source>Add rows, lower the rank, or choose the default initialization.</source>
            <translation>Fügen Sie Zeilen hinzu, verkleinern Sie den Rang, oder wählen Sie die Standardinitialisierung.</translation>
        </message>
        <message>
            <source>Add sample prompt</source>
            <translation>Beispiel-Prompt hinzufügen</translation>
        </message>
        <message>
            <source>Add the folder where you keep your models. The models in it are listed here.</source>
            <translation>Fügen Sie den Ordner hinzu, in dem Sie Ihre Modelle aufbewahren. Die Modelle darin erscheinen hier.</translation>
        </message>
        <message>
            <source>Add them to the target modules, or set the backend to Automatic.</source>
            <translation>Nehmen Sie sie in die Zielmodule auf, oder stellen Sie das Backend auf „Automatisch“.</translation>
        </message>
        <message>
            <source>Add to LM Studio</source>
            <translation>Zu LM Studio hinzufügen</translation>
        </message>
        <message>
            <source>Add to queue</source>
            <translation>In die Warteschlange</translation>
        </message>
        <message>
            <source>Add to samples</source>
            <translation>Zu Beispielen hinzufügen</translation>
        </message>
        <message numerus="yes">
            <source>Add {n} runs to queue</source>
            <translation>
                <numerusform>{n} Lauf in die Warteschlange</numerusform>
                <numerusform>{n} Läufe in die Warteschlange</numerusform>
            </translation>
        </message>
        <message>
            <source>Added to LM Studio as {model} in {folder}. Refresh its list of models.</source>
            <translation>In LM Studio als {model} in {folder} hinzugefügt. Aktualisieren Sie dort die Modellliste.</translation>
        </message>
        <message>
            <source>Added to conversations that have no system message. Leave empty for none.</source>
            <translation>Wird Gesprächen ohne Systemnachricht vorangestellt. Leer lassen für keinen.</translation>
        </message>
        <message>
            <source>Added to the sample prompts. The model answers this prompt at every evaluation during training.</source>
            <translation>Zu den Beispiel-Prompts hinzugefügt. Das Modell beantwortet diesen Prompt beim Training bei jeder Evaluation.</translation>
        </message>
        <message>
            <source>Additional adapters</source>
            <translation>Weitere Adapter</translation>
        </message>
        <message>
            <source>Address</source>
            <translation>Adresse</translation>
        </message>
        <message>
            <source>Address of the server. For OpenAI-compatible servers, up to /v1.</source>
            <translation>Adresse des Servers, bei OpenAI-kompatiblen Servern bis /v1.</translation>
        </message>
        <message>
            <source>Adds A and B separately: small and fast, but a rough approximation. Needs equal ranks.</source>
            <translation>Addiert A und B getrennt: klein und schnell, aber nur eine grobe Näherung. Braucht gleiche Ränge.</translation>
        </message>
        <message>
            <source>Adds a model that answers the same prompts</source>
            <translation>Fügt ein Modell hinzu, das dieselben Prompts beantwortet</translation>
        </message>
        <message>
            <source>Adds this prompt to the sample prompts, which the model answers at every evaluation during training</source>
            <translation>Fügt diesen Prompt den Beispiel-Prompts hinzu, die das Modell beim Training bei jeder Evaluation beantwortet</translation>
        </message>
        <message>
            <source>Advanced</source>
            <translation>Erweitert</translation>
        </message>
        <message>
            <source>After step {step}</source>
            <translation>Nach Schritt {step}</translation>
        </message>
        <message>
            <source>After {time}.</source>
            <translation>Nach {time}.</translation>
        </message>
        <message>
            <source>Aims at a fixed margin per token, which reduces overfitting to clear pairs (Azar et al. 2024).</source>
            <translation>Strebt einen festen Abstand pro Token an; das verringert die Überanpassung an eindeutige Paare (Azar et al. 2024).</translation>
        </message>
        <message>
            <source>All</source>
            <translation>Alle</translation>
        </message>
        <message>
            <source>All adapter weights are 0, so there is nothing to merge.</source>
            <translation>Alle Adaptergewichte sind 0, es gibt also nichts zusammenzuführen.</translation>
        </message>
        <message>
            <source>All completions of a step were truncated at {tokens} tokens.</source>
            <translation>Alle Antworten eines Schritts wurden nach {tokens} Token abgeschnitten.</translation>
        </message>
        <message>
            <source>All completions were truncated at {tokens} tokens.</source>
            <translation>Alle Antworten wurden nach {tokens} Token abgeschnitten.</translation>
        </message>
        <message>
            <source>All files (*)</source>
            <translation>Alle Dateien (*)</translation>
        </message>
        <message>
            <source>All held-out texts are longer than the context length.</source>
            <translation>Alle zurückgehaltenen Texte sind länger als die Kontextlänge.</translation>
        </message>
        <message numerus="yes">
            <source>All layers fit: {n} tensors change.</source>
            <translation>
                <numerusform>Alle Schichten passen: {n} Tensor ändert sich.</numerusform>
                <numerusform>Alle Schichten passen: {n} Tensoren ändern sich.</numerusform>
            </translation>
        </message>
        <message>
            <source>All linear layers</source>
            <translation>Alle linearen Schichten</translation>
        </message>
        <message>
            <source>All partial files were removed.</source>
            <translation>Alle unfertigen Dateien wurden entfernt.</translation>
        </message>
        <message>
            <source>All problems</source>
            <translation>Alle Probleme</translation>
        </message>
        <message>
            <source>All programs share the memory of a device. Close other programs that use it, or choose a lower precision, rank, sequence length, or micro-batch size. The Train page shows how much memory each of them uses.</source>
            <translation>Alle Programme teilen sich den Speicher eines Geräts. Schließen Sie andere Programme, die ihn belegen, oder wählen Sie eine geringere Genauigkeit, einen kleineren Rang, kürzere Sequenzen oder kleinere Mikro-Batches. Die Seite „Training“ zeigt, wie viel Speicher jede dieser Einstellungen belegt.</translation>
        </message>
        <message>
            <source>All rows</source>
            <translation>Alle Zeilen</translation>
        </message>
        <message>
            <source>All rows of the test set were trained on.</source>
            <translation>Alle Zeilen der Testdaten kamen im Training vor.</translation>
        </message>
        <message>
            <source>All settings have their default values.</source>
            <translation>Alle Einstellungen haben ihre Standardwerte.</translation>
        </message>
        <message>
            <source>All states</source>
            <translation>Alle Status</translation>
        </message>
        <message>
            <source>All test sets</source>
            <translation>Alle Testsätze</translation>
        </message>
        <message>
            <source>All {count}</source>
            <translation>Alle {count}</translation>
        </message>
        <message>
            <source>Allow</source>
            <translation>Erlauben</translation>
        </message>
        <message>
            <source>Allow this code</source>
            <translation>Diesen Code erlauben</translation>
        </message>
        <message>
            <source>Allow this code to run?</source>
            <translation>Diesen Code ausführen lassen?</translation>
        </message>
        <message>
            <source>Alpaca</source>
            <translation>Alpaca</translation>
        </message>
        <message>
            <source>Alpaca (instruction, input, output)</source>
            <translation>Alpaca (instruction, input, output)</translation>
        </message>
        <message>
            <source>Alpha</source>
            <translation>Alpha</translation>
        </message>
        <message>
            <source>Alpha stays {ratio} × rank.</source>
            <translation>Alpha bleibt {ratio} × Rang.</translation>
        </message>
        <message>
            <source>Also export the adapter as GGUF</source>
            <translation>Auch den Adapter als GGUF exportieren</translation>
        </message>
        <message>
            <source>Also learns to write the chosen response, and needs no reference model (Hong et al. 2024). TRL's ORPO trainer reports other losses, because it also counts the prompt.</source>
            <translation>Lernt auch, die bevorzugte Antwort zu schreiben, und braucht kein Referenzmodell (Hong et al. 2024). Der ORPO-Trainer von TRL gibt andere Losses aus, weil er auch den Prompt mitzählt.</translation>
        </message>
        <message>
            <source>Also log loss, learning rate, and evaluations to these trackers. Weights &amp; Biases works offline until you run wandb login. Each tracker needs its package.</source>
            <translation>Loss, Lernrate und Evaluationen zusätzlich an diese Tracker senden. Weights &amp; Biases arbeitet offline, bis Sie sich mit wandb login anmelden. Jeder Tracker braucht sein Paket.</translation>
        </message>
        <message>
            <source>Also number:0.01, fields:name,total, exact:verbatim, or json_schema:FILE</source>
            <translation>Auch number:0.01, fields:name,summe, exact:verbatim oder json_schema:DATEI</translation>
        </message>
        <message>
            <source>Also quantizes the scales of 4-bit blocks. Saves about 0.4 bits per parameter.</source>
            <translation>Quantisiert auch die Skalierungen der 4-Bit-Blöcke. Spart etwa 0,4 Bit pro Parameter.</translation>
        </message>
        <message>
            <source>Also verified</source>
            <translation>Ebenfalls geprüft</translation>
        </message>
        <message>
            <source>Also writes the adapter alone, for llama.cpp's --lora. Ollama can't run it.</source>
            <translation>Schreibt auch den Adapter allein, für --lora von llama.cpp. Ollama kann ihn nicht ausführen.</translation>
        </message>
        <message>
            <source>Always picks the most likely token, so answers are reproducible</source>
            <translation>Wählt immer das wahrscheinlichste Token; Antworten sind dadurch reproduzierbar</translation>
        </message>
        <message>
            <source>An action of the TEMPLATE contains characters that a Modelfile can't contain.</source>
            <translation>Eine Aktion des TEMPLATE enthält Zeichen, die ein Modelfile nicht enthalten kann.</translation>
        </message>
        <message>
            <source>An adapter with this name already exists.</source>
            <translation>Ein Adapter mit diesem Namen ist schon vorhanden.</translation>
        </message>
        <message>
            <source>An answer in {rows} is longer than {limit} tokens, so the model doesn't see its end.</source>
            <translation>In {rows} ist eine Antwort länger als {limit} Tokens. Das Modell sieht ihr Ende nicht.</translation>
        </message>
        <message>
            <source>An answer refuses, or calls itself an AI model, in {rows}. Leave these rows out unless you want the model to learn that.</source>
            <translation>In {rows} verweigert sich eine Antwort oder bezeichnet sich als KI-Modell. Lassen Sie diese Zeilen weg, wenn das Modell das nicht lernen soll.</translation>
        </message>
        <message>
            <source>An earlier row is nearly repeated in {rows}: at most about one word in eight differs. Validation rows are chosen so that none resembles a training row.</source>
            <translation>In {rows} wiederholt sich eine frühere Zeile fast: Höchstens etwa jedes achte Wort ist anders. Validierungszeilen werden so gewählt, dass keine einer Trainingszeile ähnelt.</translation>
        </message>
        <message>
            <source>An earlier row is repeated in {rows}, except for spacing. The model would memorize them.</source>
            <translation>In {rows} wiederholt sich eine frühere Zeile, bis auf Leerzeichen. Das Modell würde sie auswendig lernen.</translation>
        </message>
        <message>
            <source>An engine setup is already running. Wait until it finishes.</source>
            <translation>Eine Einrichtung der Engine läuft schon. Warten Sie, bis sie fertig ist.</translation>
        </message>
        <message>
            <source>An evaluation compares models on rows that weren't trained on. Answers that were computed before are kept, so you can change what this problem is about and continue the evaluation, or start a new one with other models, test sets, or metrics.</source>
            <translation>Eine Auswertung vergleicht Modelle an Zeilen, mit denen nicht trainiert wurde. Bereits berechnete Antworten bleiben erhalten. Beheben Sie also das Problem und setzen Sie die Auswertung fort, oder starten Sie eine neue mit anderen Modellen, Testsätzen oder Metriken.</translation>
        </message>
        <message>
            <source>An importance matrix needs data similar to what the model will be used for.</source>
            <translation>Eine Importance-Matrix braucht Daten, die dem späteren Einsatz des Modells ähneln.</translation>
        </message>
        <message>
            <source>Anki notes</source>
            <translation>Anki-Notizen</translation>
        </message>
        <message>
            <source>Anki package</source>
            <translation>Anki-Paket</translation>
        </message>
        <message>
            <source>Another engine setup is running.</source>
            <translation>Eine andere Engine-Einrichtung läuft.</translation>
        </message>
        <message>
            <source>Another export is writing to {folder}.</source>
            <translation>Ein anderer Export schreibt gerade nach {folder}.</translation>
        </message>
        <message>
            <source>Another job is running.</source>
            <translation>Ein anderer Auftrag läuft.</translation>
        </message>
        <message>
            <source>Another process is working on this run.</source>
            <translation>Ein anderer Prozess arbeitet an diesem Lauf.</translation>
        </message>
        <message>
            <source>Another program might have the file open, or the disk might be full, disconnected, or write-protected. The previous content is unchanged.</source>
            <translation>Vielleicht hat ein anderes Programm die Datei geöffnet, oder das Laufwerk ist voll, getrennt oder schreibgeschützt. Der bisherige Inhalt ist unverändert.</translation>
        </message>
        <message>
            <source>Answer</source>
            <translation>Antwort</translation>
        </message>
        <message>
            <source>Answer loss</source>
            <translation>Loss der Antwort</translation>
        </message>
        <message>
            <source>Answer on the CPU</source>
            <translation>Auf der CPU antworten</translation>
        </message>
        <message>
            <source>Answer score</source>
            <translation>Bewertung der Antworten</translation>
        </message>
        <message>
            <source>Answer {letter}</source>
            <translation>Antwort {letter}</translation>
        </message>
        <message>
            <source>Answers</source>
            <translation>Antworten</translation>
        </message>
        <message>
            <source>Answers only</source>
            <translation>Nur Antworten</translation>
        </message>
        <message>
            <source>Answers requests from programs on this computer at an OpenAI-compatible address, using llama-server. Programs need the API key, so that no web page can use the model: that of the environment variable LLAMA_API_KEY, or a new one each time. The server stops when you close the window. If llama-server is built for your GPU, the model takes GPU memory while it runs.</source>
            <translation>Beantwortet über llama-server Anfragen von Programmen auf diesem Computer unter einer OpenAI-kompatiblen Adresse. Programme brauchen den API-Schlüssel, damit keine Webseite das Modell benutzen kann: den aus der Umgebungsvariablen LLAMA_API_KEY oder jedes Mal einen neuen. Der Server endet, wenn Sie das Fenster schließen. Wenn llama-server für Ihre GPU gebaut ist, belegt das Modell GPU-Speicher, solange er läuft.</translation>
        </message>
        <message>
            <source>Any free port</source>
            <translation>Beliebiger freier Port</translation>
        </message>
        <message>
            <source>Any license</source>
            <translation>Jede Lizenz</translation>
        </message>
        <message>
            <source>Any size</source>
            <translation>Jede Größe</translation>
        </message>
        <message>
            <source>Appearance</source>
            <translation>Darstellung</translation>
        </message>
        <message>
            <source>Apple GPU</source>
            <translation>Apple-GPU</translation>
        </message>
        <message>
            <source>Apply</source>
            <translation>Übernehmen</translation>
        </message>
        <message>
            <source>Apply settings</source>
            <translation>Einstellungen übernehmen</translation>
        </message>
        <message>
            <source>Arabic</source>
            <translation>Arabisch</translation>
        </message>
        <message>
            <source>Architecture</source>
            <translation>Architektur</translation>
        </message>
        <message>
            <source>Arrow</source>
            <translation>Arrow</translation>
        </message>
        <message>
            <source>As the model itself does if it is an embedding model, otherwise the last token.</source>
            <translation>Wie das Modell selbst, wenn es ein Embedding-Modell ist, sonst das letzte Token.</translation>
        </message>
        <message>
            <source>Ask a question in the Playground first, or choose another test set.</source>
            <translation>Stellen Sie zuerst im Playground eine Frage, oder wählen Sie andere Testdaten.</translation>
        </message>
        <message>
            <source>Ask its author for adapter_model.safetensors, or convert the file if you trust it.</source>
            <translation>Bitten Sie den Autor um adapter_model.safetensors oder wandeln Sie die Datei um, wenn Sie ihr vertrauen.</translation>
        </message>
        <message>
            <source>Ask its author for an adapter whose settings list the module names.</source>
            <translation>Bitten Sie den Autor um einen Adapter, dessen Einstellungen die Namen der Module aufzählen.</translation>
        </message>
        <message>
            <source>Asked “{question}”, {model} answered: {answer}</source>
            <translation>Auf „{question}“ hat {model} geantwortet: {answer}</translation>
        </message>
        <message>
            <source>Assistant</source>
            <translation>Assistent</translation>
        </message>
        <message>
            <source>Attention + MLP</source>
            <translation>Attention + MLP</translation>
        </message>
        <message>
            <source>Attention q, k, v, o</source>
            <translation>Attention q, k, v, o</translation>
        </message>
        <message>
            <source>Attention q, v</source>
            <translation>Attention q, v</translation>
        </message>
        <message>
            <source>Auto-detect</source>
            <translation>Automatisch erkennen</translation>
        </message>
        <message>
            <source>Automatic</source>
            <translation>Automatisch</translation>
        </message>
        <message>
            <source>Automatic ({title})</source>
            <translation>Automatisch ({title})</translation>
        </message>
        <message>
            <source>Automatic device</source>
            <translation>Gerät automatisch wählen</translation>
        </message>
        <message>
            <source>Available models: {names}.</source>
            <translation>Verfügbare Modelle: {names}.</translation>
        </message>
        <message>
            <source>Available presets: {known}.</source>
            <translation>Verfügbare Voreinstellungen: {known}.</translation>
        </message>
        <message>
            <source>Back</source>
            <translation>Zurück</translation>
        </message>
        <message>
            <source>Backend</source>
            <translation>Backend</translation>
        </message>
        <message>
            <source>Balanced</source>
            <translation>Ausgewogen</translation>
        </message>
        <message>
            <source>Base model</source>
            <translation>Basismodell</translation>
        </message>
        <message>
            <source>Base model + adapter</source>
            <translation>Basismodell + Adapter</translation>
        </message>
        <message>
            <source>Base model + adapters</source>
            <translation>Basismodell + Adapter</translation>
        </message>
        <message>
            <source>Base model as GGUF</source>
            <translation>Basismodell als GGUF</translation>
        </message>
        <message>
            <source>Basis: {reason}.</source>
            <translation>Grundlage: {reason}.</translation>
        </message>
        <message>
            <source>Before training, lets the base model answer {rows} rows and shows the rewards of its answers.</source>
            <translation>Lässt das Basismodell vor dem Training {rows} Zeilen beantworten und zeigt die Belohnungen der Antworten.</translation>
        </message>
        <message>
            <source>Before training, set it at the start of the chat template: `{example}`.</source>
            <translation>Setzen Sie es vor dem Training am Anfang der Chat-Vorlage: `{example}`.</translation>
        </message>
        <message>
            <source>Before training: {found}.</source>
            <translation>Vor dem Training: {found}.</translation>
        </message>
        <message>
            <source>Benchmark</source>
            <translation>Benchmark</translation>
        </message>
        <message>
            <source>Benchmarks</source>
            <translation>Benchmarks</translation>
        </message>
        <message>
            <source>Benchmarks are those of EleutherAI's lm-eval. When you add one, its items are downloaded from the Hugging Face Hub, unless they are on this computer.</source>
            <translation>Die Benchmarks stammen aus lm-eval von EleutherAI. Wenn Sie einen hinzufügen, werden seine Aufgaben vom Hugging Face Hub heruntergeladen, sofern sie nicht schon auf diesem Computer sind.</translation>
        </message>
        <message>
            <source>Benchmark…</source>
            <translation>Benchmark …</translation>
        </message>
        <message>
            <source>Bengali</source>
            <translation>Bengalisch</translation>
        </message>
        <message>
            <source>Best adapter by</source>
            <translation>Bester Adapter nach</translation>
        </message>
        <message>
            <source>Best answers so far: {score} with {values}.</source>
            <translation>Beste Antworten bisher: {score} mit {values}.</translation>
        </message>
        <message>
            <source>Best completion</source>
            <translation>Beste Antwort</translation>
        </message>
        <message>
            <source>Best eval loss</source>
            <translation>Bester Eval-Loss</translation>
        </message>
        <message>
            <source>Best eval reward</source>
            <translation>Beste Eval-Belohnung</translation>
        </message>
        <message>
            <source>Best for this device</source>
            <translation>Am besten für dieses Gerät</translation>
        </message>
        <message>
            <source>Best quality</source>
            <translation>Beste Qualität</translation>
        </message>
        <message>
            <source>Best so far: {loss} with {values}.</source>
            <translation>Bisher am besten: {loss} mit {values}.</translation>
        </message>
        <message>
            <source>Beta</source>
            <translation>Beta</translation>
        </message>
        <message>
            <source>Better: perplexity {before} → {after} ({low} to {high} %)</source>
            <translation>Besser: Perplexität {before} → {after} ({low} bis {high} %)</translation>
        </message>
        <message>
            <source>Better: {before} → {after} ({low} to {high} points)</source>
            <translation>Besser: {before} → {after} ({low} bis {high} Punkte)</translation>
        </message>
        <message>
            <source>Bias terms to train as well. None keeps the adapter a pure low-rank update.</source>
            <translation>Bias-Terme, die mittrainiert werden. „Keine“ hält den Adapter bei einem reinen Low-Rank-Update.</translation>
        </message>
        <message>
            <source>Biases</source>
            <translation>Bias-Terme</translation>
        </message>
        <message>
            <source>Bits</source>
            <translation>Bits</translation>
        </message>
        <message>
            <source>Bits per weight (8B model); higher for small models</source>
            <translation>Bits pro Gewicht (8B-Modell); bei kleinen Modellen mehr</translation>
        </message>
        <message>
            <source>Blind</source>
            <translation>Blind</translation>
        </message>
        <message>
            <source>Blind test results</source>
            <translation>Ergebnisse des Blindtests</translation>
        </message>
        <message>
            <source>Blind votes in the Playground</source>
            <translation>Blindabstimmungen im Playground</translation>
        </message>
        <message>
            <source>Block {block:d} doesn't exist: the model has {count:d} blocks, numbered from 0.</source>
            <translation>Block {block:d} gibt es nicht: Das Modell hat {count:d} Blöcke, gezählt ab 0.</translation>
        </message>
        <message>
            <source>Blocks</source>
            <translation>Blöcke</translation>
        </message>
        <message>
            <source>Branch, tag, or commit of a Hub model. Pin a commit to make a run reproducible.</source>
            <translation>Branch, Tag oder Commit eines Hub-Modells. Mit einem festen Commit ist der Lauf reproduzierbar.</translation>
        </message>
        <message>
            <source>Broken: worse than</source>
            <translation>Verschlechtert gegenüber</translation>
        </message>
        <message>
            <source>Browse…</source>
            <translation>Durchsuchen…</translation>
        </message>
        <message>
            <source>Built-in model</source>
            <translation>Mitgeliefertes Modell</translation>
        </message>
        <message>
            <source>Bulgarian</source>
            <translation>Bulgarisch</translation>
        </message>
        <message>
            <source>By default, Ollama keeps a model for five minutes after its last answer.</source>
            <translation>Ollama behält ein Modell standardmäßig fünf Minuten nach der letzten Antwort im Speicher.</translation>
        </message>
        <message>
            <source>By name</source>
            <translation>Nach Namen</translation>
        </message>
        <message>
            <source>CPU</source>
            <translation>CPU</translation>
        </message>
        <message numerus="yes">
            <source>CPU ({machine}, {n} threads)</source>
            <translation>
                <numerusform>CPU ({machine}, {n} Thread)</numerusform>
                <numerusform>CPU ({machine}, {n} Threads)</numerusform>
            </translation>
        </message>
        <message>
            <source>CPU utilization</source>
            <translation>CPU-Auslastung</translation>
        </message>
        <message>
            <source>CPU utilization (%)</source>
            <translation>CPU-Auslastung (%)</translation>
        </message>
        <message>
            <source>CPU {load} % · RAM {used}</source>
            <translation>CPU {load} % · RAM {used}</translation>
        </message>
        <message>
            <source>CPU: {load} % used, {used} of {total} memory used</source>
            <translation>CPU: {load} % ausgelastet, {used} von {total} Speicher belegt</translation>
        </message>
        <message>
            <source>CSV files (*.csv)</source>
            <translation>CSV-Dateien (*.csv)</translation>
        </message>
        <message>
            <source>CSV with bars</source>
            <translation>CSV mit senkrechten Strichen</translation>
        </message>
        <message>
            <source>CSV with commas</source>
            <translation>CSV mit Kommas</translation>
        </message>
        <message>
            <source>CSV with one column</source>
            <translation>CSV mit einer Spalte</translation>
        </message>
        <message>
            <source>CSV with semicolons</source>
            <translation>CSV mit Semikolons</translation>
        </message>
        <message>
            <source>CSV with tabs</source>
            <translation>CSV mit Tabulatoren</translation>
        </message>
        <message>
            <source>CSV, every answer…</source>
            <translation>CSV, jede Antwort …</translation>
        </message>
        <message>
            <source>CUDA {version}</source>
            <translation>CUDA {version}</translation>
        </message>
        <message>
            <source>Cache</source>
            <translation>Cache</translation>
        </message>
        <message>
            <source>Calculated by the quantizer from this model's tensor shapes</source>
            <translation>Vom Quantisierer aus den Tensorgrößen dieses Modells berechnet</translation>
        </message>
        <message>
            <source>Can't copy the sample project: {error}.</source>
            <translation>Das Beispielprojekt kann nicht kopiert werden: {error}.</translation>
        </message>
        <message>
            <source>Can't move {name} to the trash.</source>
            <translation>{name} kann nicht in den Papierkorb verschoben werden.</translation>
        </message>
        <message numerus="yes">
            <source>Can't move {name} to the trash. {n} items before it were moved.</source>
            <translation>
                <numerusform>{name} kann nicht in den Papierkorb verschoben werden. {n} Element davor wurde verschoben.</numerusform>
                <numerusform>{name} kann nicht in den Papierkorb verschoben werden. {n} Elemente davor wurden verschoben.</numerusform>
            </translation>
        </message>
        <message>
            <source>Can't use a file: {reason}.</source>
            <translation>Eine Datei kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>Can't use {file}: {reason}.</source>
            <translation>{file} kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>Can't write {file}: {reason}.</source>
            <translation>{file} kann nicht geschrieben werden: {reason}.</translation>
        </message>
        <message>
            <source>Cancel</source>
            <translation>Abbrechen</translation>
        </message>
        <message>
            <source>Cancel checking</source>
            <translation>Prüfung abbrechen</translation>
        </message>
        <message>
            <source>Cancel copying</source>
            <translation>Kopieren abbrechen</translation>
        </message>
        <message>
            <source>Cancel counting rows</source>
            <translation>Zählen der Zeilen abbrechen</translation>
        </message>
        <message>
            <source>Cancel job</source>
            <translation>Auftrag abbrechen</translation>
        </message>
        <message>
            <source>Cancel measuring rows</source>
            <translation>Messen der Zeilen abbrechen</translation>
        </message>
        <message>
            <source>Cancel reading rows</source>
            <translation>Lesen der Zeilen abbrechen</translation>
        </message>
        <message>
            <source>Canceled</source>
            <translation>Abgebrochen</translation>
        </message>
        <message>
            <source>Canceled.</source>
            <translation>Abgebrochen.</translation>
        </message>
        <message>
            <source>Canceled. Everything saved before is intact.</source>
            <translation>Abgebrochen. Alles zuvor Gespeicherte ist unversehrt.</translation>
        </message>
        <message>
            <source>Canceled. The incomplete folder was removed.</source>
            <translation>Abgebrochen. Der unvollständige Ordner wurde entfernt.</translation>
        </message>
        <message>
            <source>Canceling</source>
            <translation>Wird abgebrochen</translation>
        </message>
        <message>
            <source>Canceling…</source>
            <translation>Wird abgebrochen …</translation>
        </message>
        <message>
            <source>Case, spaces, quotes, and final punctuation count as well.</source>
            <translation>Groß- und Kleinschreibung, Leerzeichen, Anführungszeichen und Satzzeichen am Ende zählen mit.</translation>
        </message>
        <message>
            <source>Change folder…</source>
            <translation>Ordner ändern…</translation>
        </message>
        <message>
            <source>Change it, or set the backend to Automatic.</source>
            <translation>Ändern Sie das oder stellen Sie das Backend auf „Automatisch“.</translation>
        </message>
        <message>
            <source>Change the folder for new projects</source>
            <translation>Ordner für neue Projekte ändern</translation>
        </message>
        <message>
            <source>Change the order or the roles of the messages.</source>
            <translation>Ändern Sie die Reihenfolge oder die Rollen der Nachrichten.</translation>
        </message>
        <message>
            <source>Change the reward, or use prompts that the model sometimes completes well.</source>
            <translation>Ändern Sie die Belohnung, oder verwenden Sie Prompts, die das Modell manchmal gut beantwortet.</translation>
        </message>
        <message>
            <source>Change the roles of its messages, for example by removing the system message.</source>
            <translation>Ändern Sie die Rollen der Nachrichten, zum Beispiel indem Sie die Systemnachricht entfernen.</translation>
        </message>
        <message>
            <source>Change the row to what the chat template accepts, or choose another template.</source>
            <translation>Passen Sie die Zeile an die Chat-Vorlage an oder wählen Sie eine andere Vorlage.</translation>
        </message>
        <message>
            <source>Change the rows so that the chat template accepts them, or choose another template.</source>
            <translation>Ändern Sie die Zeilen so, dass die Chat-Vorlage sie annimmt, oder wählen Sie eine andere Vorlage.</translation>
        </message>
        <message>
            <source>Change the variable to use another folder.</source>
            <translation>Ändern Sie die Variable, um einen anderen Ordner zu verwenden.</translation>
        </message>
        <message>
            <source>Change the variable, and move the folder yourself.</source>
            <translation>Ändern Sie die Variable und verschieben Sie den Ordner selbst.</translation>
        </message>
        <message>
            <source>Changes against {name} in percentage points, with 95 % intervals.</source>
            <translation>Änderungen gegenüber {name} in Prozentpunkten, mit 95-%-Intervallen.</translation>
        </message>
        <message>
            <source>Change…</source>
            <translation>Ändern…</translation>
        </message>
        <message>
            <source>Changing settings isn't enough. Choose a smaller model, or free up memory.</source>
            <translation>Geänderte Einstellungen reichen nicht aus. Wählen Sie ein kleineres Modell oder geben Sie Speicher frei.</translation>
        </message>
        <message>
            <source>Changing the text size…</source>
            <translation>Schriftgröße wird geändert …</translation>
        </message>
        <message>
            <source>Changing the theme…</source>
            <translation>Design wird geändert …</translation>
        </message>
        <message>
            <source>Character sequences in common with the reference.</source>
            <translation>Zeichenfolgen, die mit der Referenz übereinstimmen.</translation>
        </message>
        <message>
            <source>Character sequences in common.</source>
            <translation>Gemeinsame Zeichenfolgen.</translation>
        </message>
        <message>
            <source>Characters</source>
            <translation>Zeichen</translation>
        </message>
        <message>
            <source>Chat</source>
            <translation>Chatten</translation>
        </message>
        <message>
            <source>Chat template</source>
            <translation>Chat-Vorlage</translation>
        </message>
        <message>
            <source>Chat template (Jinja)</source>
            <translation>Chat-Vorlage (Jinja)</translation>
        </message>
        <message>
            <source>Chat template ChatML</source>
            <translation>Chat-Vorlage ChatML</translation>
        </message>
        <message>
            <source>Chat template markers in the text</source>
            <translation>Marken einer Chat-Vorlage im Text</translation>
        </message>
        <message>
            <source>Chat, support, and tool calls. Many languages.</source>
            <translation>Chat, Support, Werkzeugaufrufe. Viele Sprachen.</translation>
        </message>
        <message>
            <source>ChatML</source>
            <translation>ChatML</translation>
        </message>
        <message>
            <source>Check its log (`ollama serve` prints it) and export again.</source>
            <translation>Sehen Sie in sein Protokoll (`ollama serve` gibt es aus) und exportieren Sie noch einmal.</translation>
        </message>
        <message>
            <source>Check its log (`ollama serve` prints it) and try again.</source>
            <translation>Sehen Sie in sein Protokoll (`ollama serve` gibt es aus) und versuchen Sie es noch einmal.</translation>
        </message>
        <message>
            <source>Check its log (`ollama serve` prints it). Updating Ollama often helps.</source>
            <translation>Sehen Sie in sein Protokoll (`ollama serve` gibt es aus). Oft hilft ein Update von Ollama.</translation>
        </message>
        <message>
            <source>Check some of them under Rows.</source>
            <translation>Sehen Sie sich einige davon unter „Zeilen“ an.</translation>
        </message>
        <message>
            <source>Check some rows, and whose messages are the answers.</source>
            <translation>Prüfen Sie einige Zeilen und wessen Nachrichten die Antworten sind.</translation>
        </message>
        <message>
            <source>Check some rows. If they are not conversations, remove that column.</source>
            <translation>Prüfen Sie einige Zeilen. Wenn es keine Gespräche sind, entfernen Sie diese Spalte.</translation>
        </message>
        <message>
            <source>Check that the disk is connected and writable, then start the setup again: it continues where it stopped.</source>
            <translation>Prüfen Sie, ob die Festplatte verbunden und beschreibbar ist, und starten Sie die Einrichtung erneut: Sie macht dort weiter, wo sie aufgehört hat.</translation>
        </message>
        <message>
            <source>Check that the disk is connected, writable, and not full.</source>
            <translation>Prüfen Sie, ob das Laufwerk angeschlossen, beschreibbar und nicht voll ist.</translation>
        </message>
        <message>
            <source>Check that the disk isn't full and that no limit on file sizes is set (`ulimit -f`), or set TMPDIR to another folder.</source>
            <translation>Prüfen Sie, ob der Datenträger voll ist oder eine Grenze für Dateigrößen gilt (`ulimit -f`), oder setzen Sie TMPDIR auf einen anderen Ordner.</translation>
        </message>
        <message>
            <source>Check that the disk isn't full and that the engine is installed.</source>
            <translation>Prüfen Sie, ob auf der Festplatte Platz frei und die Engine installiert ist.</translation>
        </message>
        <message>
            <source>Check that the file exists and is complete, and that you have permission to read it.</source>
            <translation>Prüfen Sie, ob die Datei vorhanden und vollständig ist und ob Sie sie lesen dürfen.</translation>
        </message>
        <message>
            <source>Check that the folder exists, is writable, and has free space.</source>
            <translation>Prüfen Sie, ob der Ordner existiert, beschreibbar ist und Platz hat.</translation>
        </message>
        <message>
            <source>Check that the folder is writable and that the disk has space for the data and the model.</source>
            <translation>Prüfen Sie, ob der Ordner beschreibbar ist und der Datenträger genug Platz für Daten und Modell hat.</translation>
        </message>
        <message>
            <source>Check that the project folder is writable and has free space.</source>
            <translation>Prüfen Sie, ob der Projektordner beschreibbar ist und genug Platz hat.</translation>
        </message>
        <message>
            <source>Check that the project's folder is writable and has free space.</source>
            <translation>Prüfen Sie, ob der Ordner des Projekts beschreibbar ist und Platz hat.</translation>
        </message>
        <message>
            <source>Check that the project's runs folder is writable and has free space.</source>
            <translation>Prüfen Sie, ob der Ordner runs des Projekts beschreibbar ist und Platz hat.</translation>
        </message>
        <message>
            <source>Check that the run folder is writable and has free space.</source>
            <translation>Prüfen Sie, ob der Ordner des Laufs beschreibbar ist und genug Platz hat.</translation>
        </message>
        <message>
            <source>Check that the run's folder is writable.</source>
            <translation>Prüfen Sie, ob der Ordner des Laufs beschreibbar ist.</translation>
        </message>
        <message>
            <source>Check that the server is running (`ollama serve`) and has enough memory. Then evaluate again: answers of unchanged models are reused.</source>
            <translation>Prüfen Sie, ob der Server läuft (`ollama serve`) und genug Speicher hat. Starten Sie die Auswertung dann erneut: Antworten unveränderter Modelle werden wiederverwendet.</translation>
        </message>
        <message>
            <source>Check that the server is running (`ollama serve`) and has free disk space, then export again.</source>
            <translation>Prüfen Sie, ob der Server läuft (`ollama serve`) und freien Speicherplatz hat, und exportieren Sie dann noch einmal.</translation>
        </message>
        <message>
            <source>Check that your model has these markers, or replace them with its own.</source>
            <translation>Prüfen Sie, ob Ihr Modell diese Markierungen hat, oder ersetzen Sie sie durch die des Modells.</translation>
        </message>
        <message>
            <source>Check the GPU driver, or choose another PyTorch build.</source>
            <translation>Prüfen Sie den GPU-Treiber oder wählen Sie eine andere PyTorch-Version.</translation>
        </message>
        <message>
            <source>Check the accented letters in the rows. If they are wrong, save the file as UTF-8.</source>
            <translation>Prüfen Sie die Umlaute und Akzente in den Zeilen. Wenn sie falsch sind, speichern Sie die Datei als UTF-8.</translation>
        </message>
        <message>
            <source>Check the address and the port. Ollama's default port is {port:d}.</source>
            <translation>Prüfen Sie Adresse und Port. Der Standardport von Ollama ist {port:d}.</translation>
        </message>
        <message>
            <source>Check the address, the name of the model, and the log of the server. Then continue the evaluation.</source>
            <translation>Prüfen Sie die Adresse, den Namen des Modells und das Protokoll des Servers. Setzen Sie dann die Auswertung fort.</translation>
        </message>
        <message>
            <source>Check the address. If it is an Ollama server, restart and update it.</source>
            <translation>Prüfen Sie die Adresse. Wenn es ein Ollama-Server ist, aktualisieren Sie ihn und starten Sie ihn neu.</translation>
        </message>
        <message>
            <source>Check the connection to the Hugging Face Hub, or choose another benchmark.</source>
            <translation>Prüfen Sie die Verbindung zum Hugging Face Hub oder wählen Sie einen anderen Benchmark.</translation>
        </message>
        <message>
            <source>Check the disk for errors. To restore the best adapter, train again.</source>
            <translation>Prüfen Sie den Datenträger auf Fehler. Um den besten Adapter wiederherzustellen, trainieren Sie erneut.</translation>
        </message>
        <message>
            <source>Check the disk: Linux also makes a failing disk read-only. Then start this step again, or move the project to another disk. Files that were complete are unchanged.</source>
            <translation>Prüfen Sie den Datenträger: Auch einen fehlerhaften schützt Linux vor dem Schreiben. Starten Sie dann diesen Schritt erneut, oder verschieben Sie das Projekt auf einen anderen Datenträger. Vollständige Dateien sind unverändert.</translation>
        </message>
        <message>
            <source>Check the file named here. A job of this run that is still running continues.</source>
            <translation>Prüfen Sie die genannte Datei. Ein Auftrag dieses Laufs, der noch arbeitet, wird fortgesetzt.</translation>
        </message>
        <message>
            <source>Check the network and try again, or choose another model. HTTPS_PROXY sets a proxy, PIP_INDEX_URL another registry.</source>
            <translation>Prüfen Sie das Netzwerk und versuchen Sie es erneut oder wählen Sie ein anderes Modell. HTTPS_PROXY legt einen Proxy fest, PIP_INDEX_URL eine andere Paketquelle.</translation>
        </message>
        <message>
            <source>Check the network and try again.</source>
            <translation>Prüfen Sie das Netzwerk und versuchen Sie es erneut.</translation>
        </message>
        <message>
            <source>Check the network and try again. Downloaded data is kept.</source>
            <translation>Prüfen Sie die Netzwerkverbindung und versuchen Sie es erneut. Bereits geladene Daten bleiben erhalten.</translation>
        </message>
        <message>
            <source>Check the network and try again. Uploaded data is not sent twice.</source>
            <translation>Prüfen Sie die Netzwerkverbindung und versuchen Sie es noch einmal. Bereits Hochgeladenes wird nicht erneut gesendet.</translation>
        </message>
        <message>
            <source>Check the network connection, or set up the engine from an installed app.</source>
            <translation>Prüfen Sie die Netzwerkverbindung oder richten Sie die Engine aus einer installierten App ein.</translation>
        </message>
        <message>
            <source>Check the network connection, then start the setup again.</source>
            <translation>Prüfen Sie die Netzwerkverbindung und starten Sie die Einrichtung erneut.</translation>
        </message>
        <message>
            <source>Check the network, or choose a model on this computer.</source>
            <translation>Prüfen Sie die Netzwerkverbindung oder wählen Sie ein Modell auf diesem Computer.</translation>
        </message>
        <message>
            <source>Check the network, proxy, and index settings (HTTPS_PROXY, UV_DEFAULT_INDEX, or pip's configuration). Without internet access, use a wheel folder from another computer.</source>
            <translation>Prüfen Sie die Einstellungen für Netzwerk, Proxy und Index (HTTPS_PROXY, UV_DEFAULT_INDEX oder pips Konfiguration). Ohne Internetzugang hilft ein Wheel-Ordner von einem anderen Computer.</translation>
        </message>
        <message>
            <source>Check the network, proxy, and index settings, then start the setup again: it continues where it stopped. Without internet access, use a wheel folder from another computer.</source>
            <translation>Prüfen Sie Netzwerk, Proxy und Paketindex und starten Sie die Einrichtung erneut: Sie macht dort weiter, wo sie aufgehört hat. Ohne Internetzugang hilft ein Wheel-Ordner von einem anderen Computer.</translation>
        </message>
        <message>
            <source>Check the permissions of the folder, or turn off “Trust remote code”.</source>
            <translation>Prüfen Sie die Zugriffsrechte des Ordners, oder schalten Sie „Remote-Code vertrauen“ aus.</translation>
        </message>
        <message>
            <source>Check the rows on the Dataset page, and choose another format or other columns there.</source>
            <translation>Prüfen Sie die Zeilen auf der Seite „Datensatz“ und wählen Sie dort ein anderes Format oder andere Spalten.</translation>
        </message>
        <message>
            <source>Check the rows, and map other columns if this is wrong.</source>
            <translation>Prüfen Sie die Zeilen und ordnen Sie andere Spalten zu, falls das nicht stimmt.</translation>
        </message>
        <message>
            <source>Check the skipped rows. If they should be used, choose another format or other columns.</source>
            <translation>Prüfen Sie die übersprungenen Zeilen. Wenn sie verwendet werden sollen, wählen Sie ein anderes Format oder andere Spalten.</translation>
        </message>
        <message>
            <source>Check the spelling, or choose it again if it was moved.</source>
            <translation>Prüfen Sie die Schreibweise, oder wählen Sie neu, falls etwas verschoben wurde.</translation>
        </message>
        <message>
            <source>Check the spelling, or choose the file again if it was moved.</source>
            <translation>Prüfen Sie die Schreibweise oder wählen Sie die Datei neu aus, falls sie verschoben wurde.</translation>
        </message>
        <message>
            <source>Check the spelling, or choose the folder again if it was moved.</source>
            <translation>Prüfen Sie die Schreibweise oder wählen Sie den Ordner neu aus, falls er verschoben wurde.</translation>
        </message>
        <message>
            <source>Check the spelling. If the repository is private, sign in with a token.</source>
            <translation>Prüfen Sie die Schreibweise. Ist das Repository privat, melden Sie sich mit einem Token an.</translation>
        </message>
        <message>
            <source>Checking</source>
            <translation>Prüfung</translation>
        </message>
        <message>
            <source>Checking Python</source>
            <translation>Python wird geprüft</translation>
        </message>
        <message>
            <source>Checking requirements</source>
            <translation>Bedarf wird ermittelt</translation>
        </message>
        <message>
            <source>Checking the Hub account</source>
            <translation>Hub-Konto wird geprüft</translation>
        </message>
        <message>
            <source>Checking the dataset</source>
            <translation>Datensatz wird geprüft</translation>
        </message>
        <message>
            <source>Checking the rows…</source>
            <translation>Die Zeilen werden geprüft…</translation>
        </message>
        <message>
            <source>Checking the token…</source>
            <translation>Das Token wird geprüft…</translation>
        </message>
        <message>
            <source>Checkpoint every</source>
            <translation>Checkpoint alle</translation>
        </message>
        <message>
            <source>Checkpoint, step {step}</source>
            <translation>Checkpoint, Schritt {step}</translation>
        </message>
        <message>
            <source>Checkpoints are intact. Resume with a smaller micro-batch, shorter rows, or fewer processes.</source>
            <translation>Die Checkpoints sind unversehrt. Setzen Sie das Training mit kleinerem Mikro-Batch, kürzeren Zeilen oder weniger Prozessen fort.</translation>
        </message>
        <message>
            <source>Checkpoints to keep</source>
            <translation>Aufbewahrte Checkpoints</translation>
        </message>
        <message>
            <source>Checks every package against its checksums and downloads only damaged ones again. The current engine is kept until the new one works.</source>
            <translation>Prüft jedes Paket anhand seiner Prüfsummen und lädt nur beschädigte neu herunter. Die jetzige Engine bleibt, bis die neue funktioniert.</translation>
        </message>
        <message>
            <source>Chinese</source>
            <translation>Chinesisch</translation>
        </message>
        <message>
            <source>Choose 4-bit as the teacher's precision, a smaller teacher, or a shorter maximum sequence length.</source>
            <translation>Wählen Sie 4 Bit als Genauigkeit des Lehrers, einen kleineren Lehrer oder eine kürzere maximale Sequenzlänge.</translation>
        </message>
        <message>
            <source>Choose 4-bit precision or run on the CPU. Fewer models at a time and shorter answers also need less memory. Closing other programs that use the device also helps.</source>
            <translation>Wählen Sie 4-Bit-Genauigkeit oder rechnen Sie auf der CPU. Weniger Modelle gleichzeitig und kürzere Antworten brauchen ebenfalls weniger Speicher. Auch das Schließen anderer Programme, die das Gerät nutzen, hilft.</translation>
        </message>
        <message>
            <source>Choose 4-bit precision or the default initialization.</source>
            <translation>Wählen Sie 4-Bit-Genauigkeit oder die Standardinitialisierung.</translation>
        </message>
        <message>
            <source>Choose AdamW, which works on every device.</source>
            <translation>Wählen Sie AdamW, das auf jedem Gerät funktioniert.</translation>
        </message>
        <message>
            <source>Choose LM Studio's models folder, or leave the field empty to find it automatically.</source>
            <translation>Wählen Sie den Modellordner von LM Studio oder lassen Sie das Feld leer, um ihn automatisch zu finden.</translation>
        </message>
        <message>
            <source>Choose LoRA as the adapter type, or other target modules.</source>
            <translation>Wählen Sie LoRA als Adaptertyp oder andere Zielmodule.</translation>
        </message>
        <message>
            <source>Choose PEFT as the training backend.</source>
            <translation>Wählen Sie PEFT als Trainings-Backend.</translation>
        </message>
        <message>
            <source>Choose a .gguf file, or the folder that contains config.json and .safetensors.</source>
            <translation>Wählen Sie eine .gguf-Datei oder den Ordner, der config.json und .safetensors enthält.</translation>
        </message>
        <message>
            <source>Choose a JSON, CSV, Parquet, Arrow, or plain text file.</source>
            <translation>Wählen Sie eine JSON-, CSV-, Parquet-, Arrow- oder Textdatei.</translation>
        </message>
        <message>
            <source>Choose a LoRA adapter.</source>
            <translation>Wählen Sie einen LoRA-Adapter.</translation>
        </message>
        <message>
            <source>Choose a Python executable with PyTorch installed</source>
            <translation>Python-Programm mit installiertem PyTorch wählen</translation>
        </message>
        <message>
            <source>Choose a benchmark with choices, short answers, or texts.</source>
            <translation>Wählen Sie einen Benchmark mit Auswahlfragen, kurzen Antworten oder Texten.</translation>
        </message>
        <message>
            <source>Choose a causal language model; its architecture usually ends in ForCausalLM.</source>
            <translation>Wählen Sie ein kausales Sprachmodell; seine Architektur endet meist auf ForCausalLM.</translation>
        </message>
        <message>
            <source>Choose a column for each. The columns are: {columns}.</source>
            <translation>Wählen Sie für jeden eine Spalte. Vorhandene Spalten: {columns}.</translation>
        </message>
        <message>
            <source>Choose a dataset with Parquet, JSON, CSV, or text files.</source>
            <translation>Wählen Sie einen Datensatz mit Parquet-, JSON-, CSV- oder Textdateien.</translation>
        </message>
        <message>
            <source>Choose a file that ends in {suffix}.</source>
            <translation>Wählen Sie eine Datei, die auf {suffix} endet.</translation>
        </message>
        <message>
            <source>Choose a file with one row per line and one column per field. A table may be transposed, or use another delimiter.</source>
            <translation>Wählen Sie eine Datei mit einer Zeile pro Datensatz und einer Spalte pro Feld. Vielleicht ist die Tabelle vertauscht (transponiert) oder verwendet ein anderes Trennzeichen.</translation>
        </message>
        <message>
            <source>Choose a file with rows of text.</source>
            <translation>Wählen Sie eine Datei mit Textzeilen.</translation>
        </message>
        <message>
            <source>Choose a file with rows that it wasn't trained on, or train with a validation share.</source>
            <translation>Wählen Sie eine Datei mit Zeilen, die im Training nicht vorkamen, oder trainieren Sie mit einem Validierungsanteil.</translation>
        </message>
        <message>
            <source>Choose a file with rows that the model wasn't trained on.</source>
            <translation>Wählen Sie eine Datei mit Zeilen, die im Training nicht vorkamen.</translation>
        </message>
        <message>
            <source>Choose a file with rows.</source>
            <translation>Wählen Sie eine Datei mit Zeilen.</translation>
        </message>
        <message>
            <source>Choose a file with texts.</source>
            <translation>Wählen Sie eine Datei mit Texten.</translation>
        </message>
        <message>
            <source>Choose a file, a folder, or a Hub dataset.</source>
            <translation>Wählen Sie eine Datei, einen Ordner oder einen Hub-Datensatz.</translation>
        </message>
        <message>
            <source>Choose a folder for it.</source>
            <translation>Wählen Sie einen Ordner dafür.</translation>
        </message>
        <message>
            <source>Choose a folder for the engine</source>
            <translation>Ordner für die Engine wählen</translation>
        </message>
        <message>
            <source>Choose a folder inside the project's runs folder.</source>
            <translation>Wählen Sie einen Ordner im Ordner runs des Projekts.</translation>
        </message>
        <message>
            <source>Choose a folder of data files</source>
            <translation>Ordner mit Datendateien wählen</translation>
        </message>
        <message>
            <source>Choose a folder on a larger disk.</source>
            <translation>Wählen Sie einen Ordner auf einer größeren Festplatte.</translation>
        </message>
        <message>
            <source>Choose a folder outside the current one.</source>
            <translation>Wählen Sie einen Ordner außerhalb des jetzigen.</translation>
        </message>
        <message>
            <source>Choose a folder that doesn't exist yet.</source>
            <translation>Wählen Sie einen Ordner, den es noch nicht gibt.</translation>
        </message>
        <message>
            <source>Choose a folder with JSON, CSV, Parquet, Arrow, or text files.</source>
            <translation>Wählen Sie einen Ordner mit JSON-, CSV-, Parquet-, Arrow- oder Textdateien.</translation>
        </message>
        <message>
            <source>Choose a folder with adapters</source>
            <translation>Ordner mit Adaptern wählen</translation>
        </message>
        <message>
            <source>Choose a folder with chat_template.jinja or tokenizer_config.json, or the template file.</source>
            <translation>Wählen Sie einen Ordner mit chat_template.jinja oder tokenizer_config.json oder die Vorlagendatei.</translation>
        </message>
        <message>
            <source>Choose a folder with config.json, weights, and tokenizer.</source>
            <translation>Wählen Sie einen Ordner mit config.json, Gewichten und Tokenizer.</translation>
        </message>
        <message>
            <source>Choose a folder with models</source>
            <translation>Ordner mit Modellen wählen</translation>
        </message>
        <message>
            <source>Choose a folder with safetensors weights. Other formats can run code when they are loaded.</source>
            <translation>Wählen Sie einen Ordner mit safetensors-Gewichten. Andere Formate können beim Laden Code ausführen.</translation>
        </message>
        <message>
            <source>Choose a folder with {config} and {weights}.</source>
            <translation>Wählen Sie einen Ordner mit {config} und {weights}.</translation>
        </message>
        <message>
            <source>Choose a folder, a GGUF file, or a Hub ID.</source>
            <translation>Wählen Sie einen Ordner, eine GGUF-Datei oder eine Hub-ID.</translation>
        </message>
        <message>
            <source>Choose a folder.</source>
            <translation>Wählen Sie einen Ordner.</translation>
        </message>
        <message>
            <source>Choose a format and map the columns, or rename them: instruction and output, messages, prompt and completion, question and answer, text, text and label, or prompt, chosen, and rejected.</source>
            <translation>Wählen Sie ein Format und ordnen Sie die Spalten zu, oder benennen Sie sie um: instruction und output, messages, prompt und completion, question und answer, text, text und label oder prompt, chosen und rejected.</translation>
        </message>
        <message>
            <source>Choose a model first.</source>
            <translation>Wählen Sie zuerst ein Modell.</translation>
        </message>
        <message>
            <source>Choose a model folder or a text file with a chat template.</source>
            <translation>Wählen Sie einen Modellordner oder eine Textdatei mit einer Chat-Vorlage.</translation>
        </message>
        <message>
            <source>Choose a model that is stored as safetensors. Most models have such a version.</source>
            <translation>Wählen Sie ein Modell im Format safetensors. Die meisten Modelle gibt es auch so.</translation>
        </message>
        <message>
            <source>Choose a model to chat with it here. After training, compare the base model and your fine-tuned model side by side.</source>
            <translation>Wählen Sie ein Modell, um hier mit ihm zu chatten. Nach dem Training vergleichen Sie Basismodell und trainiertes Modell nebeneinander.</translation>
        </message>
        <message>
            <source>Choose a model to see the tokens of this row.</source>
            <translation>Wählen Sie ein Modell, um die Tokens dieser Zeile zu sehen.</translation>
        </message>
        <message>
            <source>Choose a new folder for the combined adapter.</source>
            <translation>Wählen Sie einen neuen Ordner für den kombinierten Adapter.</translation>
        </message>
        <message>
            <source>Choose a new folder for the engines</source>
            <translation>Neuen Ordner für die Engines wählen</translation>
        </message>
        <message>
            <source>Choose a new folder for the merged model.</source>
            <translation>Wählen Sie einen neuen Ordner für das zusammengeführte Modell.</translation>
        </message>
        <message>
            <source>Choose a project folder or a file that ends in {suffix}.</source>
            <translation>Wählen Sie einen Projektordner oder eine Datei, die auf {suffix} endet.</translation>
        </message>
        <message>
            <source>Choose a quantization with more bits and export again. The files and the Modelfile are complete; if only precision was lost, you can still create the model from them.</source>
            <translation>Wählen Sie eine Quantisierung mit mehr Bits und exportieren Sie noch einmal. Die Dateien und das Modelfile sind vollständig; ging nur Genauigkeit verloren, können Sie das Modell trotzdem daraus erstellen.</translation>
        </message>
        <message>
            <source>Choose a quantization with more bits, or create the model anyway (`{option}` on the command line).</source>
            <translation>Wählen Sie eine Quantisierung mit mehr Bits oder erstellen Sie das Modell trotzdem (`{option}` auf der Kommandozeile).</translation>
        </message>
        <message>
            <source>Choose a rank of at most {inputs:d}.</source>
            <translation>Wählen Sie einen Rang von höchstens {inputs:d}.</translation>
        </message>
        <message>
            <source>Choose a run that was trained on texts with labels. To chat with this one, run `lora-studio chat`.</source>
            <translation>Wählen Sie einen Lauf, der mit Texten und Labels trainiert wurde. Zum Chatten mit diesem führen Sie `lora-studio chat` aus.</translation>
        </message>
        <message>
            <source>Choose a teacher of the same model family, which has the same tokenizer.</source>
            <translation>Wählen Sie einen Lehrer aus derselben Modellfamilie, der denselben Tokenizer hat.</translation>
        </message>
        <message>
            <source>Choose a text dataset.</source>
            <translation>Wählen Sie einen Textdatensatz.</translation>
        </message>
        <message>
            <source>Choose a text dataset. If the texts make sense without what they refer to, turn on the repair “Use rows with images, audio, or video as text only” (remove_media).</source>
            <translation>Wählen Sie einen Textdatensatz. Wenn die Texte auch ohne das verständlich sind, worauf sie sich beziehen, schalten Sie die Reparatur „Von Zeilen mit Bildern, Audio oder Video nur den Text verwenden“ (remove_media) ein.</translation>
        </message>
        <message>
            <source>Choose a version of the model that has a tokenizer.json.</source>
            <translation>Wählen Sie eine Fassung des Modells mit tokenizer.json.</translation>
        </message>
        <message>
            <source>Choose a wheel folder</source>
            <translation>Wheel-Ordner wählen</translation>
        </message>
        <message>
            <source>Choose a writable folder with `lora-studio engine install --to FOLDER`, or set {variable}.</source>
            <translation>Wählen Sie mit `lora-studio engine install --to ORDNER` einen beschreibbaren Ordner oder setzen Sie {variable}.</translation>
        </message>
        <message>
            <source>Choose an adapter folder</source>
            <translation>Adapterordner wählen</translation>
        </message>
        <message>
            <source>Choose an adapter of a model that pools the last token or the mean. PEFT can merge this one.</source>
            <translation>Wählen Sie einen Adapter eines Modells, dessen Pooling das letzte Token oder den Mittelwert verwendet. Diesen Adapter kann PEFT zusammenführen.</translation>
        </message>
        <message>
            <source>Choose an archive that contains only the data, or unpack it and choose the folder.</source>
            <translation>Wählen Sie ein Archiv, das nur die Daten enthält, oder entpacken Sie es und wählen Sie den Ordner.</translation>
        </message>
        <message>
            <source>Choose an existing row.</source>
            <translation>Wählen Sie eine vorhandene Zeile.</translation>
        </message>
        <message>
            <source>Choose an installed engine: {installed}.</source>
            <translation>Wählen Sie eine installierte Engine: {installed}.</translation>
        </message>
        <message>
            <source>Choose an instruction-tuned or chat model.</source>
            <translation>Wählen Sie ein Instruct- oder Chat-Modell.</translation>
        </message>
        <message>
            <source>Choose another chat template before training, or use the TEMPLATE with Ollama before 0.30.</source>
            <translation>Wählen Sie vor dem Training eine andere Chat-Vorlage, oder verwenden Sie das TEMPLATE mit Ollama vor 0.30.</translation>
        </message>
        <message>
            <source>Choose another chat template on the Dataset page.</source>
            <translation>Wählen Sie auf der Seite „Datensatz“ eine andere Chat-Vorlage.</translation>
        </message>
        <message>
            <source>Choose another checkpoint.</source>
            <translation>Wählen Sie einen anderen Checkpoint.</translation>
        </message>
        <message>
            <source>Choose another device, or install an engine for this GPU in Settings.</source>
            <translation>Wähle ein anderes Gerät, oder installiere in den Einstellungen eine Engine für diese GPU.</translation>
        </message>
        <message>
            <source>Choose another file.</source>
            <translation>Wählen Sie eine andere Datei.</translation>
        </message>
        <message>
            <source>Choose another folder for the merged model.</source>
            <translation>Wählen Sie einen anderen Ordner für das zusammengeführte Modell.</translation>
        </message>
        <message>
            <source>Choose another folder, or check that the disk is writable and not full.</source>
            <translation>Wählen Sie einen anderen Ordner, oder prüfen Sie, ob das Laufwerk beschreibbar und nicht voll ist.</translation>
        </message>
        <message>
            <source>Choose another folder, or open that project.</source>
            <translation>Wählen Sie einen anderen Ordner oder öffnen Sie dieses Projekt.</translation>
        </message>
        <message>
            <source>Choose another format or map other columns.</source>
            <translation>Wählen Sie ein anderes Format oder ordnen Sie andere Spalten zu.</translation>
        </message>
        <message>
            <source>Choose another model, or an embedding model such as Qwen3-Embedding.</source>
            <translation>Wählen Sie ein anderes Modell oder ein Embedding-Modell wie Qwen3-Embedding.</translation>
        </message>
        <message>
            <source>Choose another model, or another preference method.</source>
            <translation>Wählen Sie ein anderes Modell oder eine andere Präferenzmethode.</translation>
        </message>
        <message>
            <source>Choose another model, or the folder of a newer llama.cpp on the Export page. You can still train, merge, and use the model with transformers or vLLM.</source>
            <translation>Wählen Sie ein anderes Modell oder auf der Seite „Export“ den Ordner eines neueren llama.cpp. Trainieren, zusammenführen und mit transformers oder vLLM verwenden lässt sich das Modell trotzdem.</translation>
        </message>
        <message>
            <source>Choose another model, or the format “Question and answer” for the data, to train a model that answers with the label.</source>
            <translation>Wählen Sie ein anderes Modell oder für die Daten das Format „Frage und Antwort“, um ein Modell zu trainieren, das mit dem Label antwortet.</translation>
        </message>
        <message>
            <source>Choose another model, or train on answers or on preference pairs.</source>
            <translation>Wählen Sie ein anderes Modell, oder trainieren Sie mit Antworten oder mit Präferenzpaaren.</translation>
        </message>
        <message>
            <source>Choose another model, or update this llama.cpp. You can still train, merge, and use the model with transformers or vLLM.</source>
            <translation>Wählen Sie ein anderes Modell, oder aktualisieren Sie dieses llama.cpp. Trainieren, zusammenführen und mit transformers oder vLLM verwenden lässt sich das Modell trotzdem.</translation>
        </message>
        <message>
            <source>Choose another model.</source>
            <translation>Wählen Sie ein anderes Modell.</translation>
        </message>
        <message>
            <source>Choose another name or tag, or replace it (`{option}` on the command line).</source>
            <translation>Wählen Sie einen anderen Namen oder Tag oder ersetzen Sie es (`{option}` auf der Kommandozeile).</translation>
        </message>
        <message>
            <source>Choose another port, or 0 for any free port.</source>
            <translation>Wählen Sie einen anderen Port oder 0 für einen beliebigen freien Port.</translation>
        </message>
        <message>
            <source>Choose another project file, or restore this one from a backup.</source>
            <translation>Wählen Sie eine andere Projektdatei oder stellen Sie diese aus einer Sicherung wieder her.</translation>
        </message>
        <message>
            <source>Choose another quantization, such as BF16 or Q8_0.</source>
            <translation>Wählen Sie eine andere Quantisierung, zum Beispiel BF16 oder Q8_0.</translation>
        </message>
        <message>
            <source>Choose another quantization. Q8_0 works with every model. Details are in the log.</source>
            <translation>Wählen Sie eine andere Quantisierung. Q8_0 funktioniert mit jedem Modell. Details stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Choose another run.</source>
            <translation>Wählen Sie einen anderen Lauf.</translation>
        </message>
        <message>
            <source>Choose at least one metric.</source>
            <translation>Wählen Sie mindestens eine Metrik.</translation>
        </message>
        <message>
            <source>Choose at least one model.</source>
            <translation>Wählen Sie mindestens ein Modell.</translation>
        </message>
        <message>
            <source>Choose at least one test set.</source>
            <translation>Wählen Sie mindestens einen Testsatz.</translation>
        </message>
        <message>
            <source>Choose blocks from 0 to {last:d}.</source>
            <translation>Wählen Sie Blöcke von 0 bis {last:d}.</translation>
        </message>
        <message>
            <source>Choose by what the answers look like</source>
            <translation>Nach dem Aussehen der Antworten wählen</translation>
        </message>
        <message>
            <source>Choose cat, which is exact, or svd, which reduces the sum to the rank you want.</source>
            <translation>Wählen Sie cat, das exakt ist, oder svd, das die Summe auf den gewünschten Rang reduziert.</translation>
        </message>
        <message>
            <source>Choose data in which the assistant answers, or the format “Prompts for rewards” to let the model answer and learn from rewards.</source>
            <translation>Wählen Sie Daten, in denen der Assistent antwortet, oder das Format „Prompts für Belohnungen“, damit das Modell selbst antwortet und aus Belohnungen lernt.</translation>
        </message>
        <message>
            <source>Choose data with one answer per prompt, or with a chosen and a rejected answer.</source>
            <translation>Wählen Sie Daten mit einer Antwort je Prompt oder mit einer bevorzugten und einer abgelehnten Antwort.</translation>
        </message>
        <message>
            <source>Choose data with one label for each text, or write the labels as the answer to a question about the text.</source>
            <translation>Wählen Sie Daten mit einem Label je Text, oder schreiben Sie die Labels als Antwort auf eine Frage zum Text.</translation>
        </message>
        <message>
            <source>Choose data with rows.</source>
            <translation>Wählen Sie Daten mit Zeilen.</translation>
        </message>
        <message>
            <source>Choose evaluations of the same test sets.</source>
            <translation>Wählen Sie Auswertungen mit denselben Testsätzen.</translation>
        </message>
        <message>
            <source>Choose it again if it was moved.</source>
            <translation>Wählen Sie ihn neu, falls er verschoben wurde.</translation>
        </message>
        <message>
            <source>Choose one of its files: {names}.</source>
            <translation>Wählen Sie eine seiner Dateien: {names}.</translation>
        </message>
        <message>
            <source>Choose one of them as the split.</source>
            <translation>Wählen Sie eine davon als Split.</translation>
        </message>
        <message>
            <source>Choose one of these splits: {names}.</source>
            <translation>Wählen Sie einen dieser Splits: {names}.</translation>
        </message>
        <message>
            <source>Choose one of these subsets: {names}.</source>
            <translation>Wählen Sie eine dieser Teilmengen: {names}.</translation>
        </message>
        <message>
            <source>Choose one of these: {known}.</source>
            <translation>Wählen Sie eines davon: {known}.</translation>
        </message>
        <message>
            <source>Choose one of these: {names}.</source>
            <translation>Wählen Sie einen von diesen: {names}.</translation>
        </message>
        <message>
            <source>Choose one of: auto, {names}.</source>
            <translation>Wählen Sie eines von: auto, {names}.</translation>
        </message>
        <message>
            <source>Choose one of: {names}.</source>
            <translation>Mögliche Werte: {names}.</translation>
        </message>
        <message>
            <source>Choose one or more data files (Ctrl+Shift+O)</source>
            <translation>Eine oder mehrere Datendateien wählen (Strg+Umschalt+O)</translation>
        </message>
        <message>
            <source>Choose other quantizations, or use a newer llama.cpp.</source>
            <translation>Wählen Sie andere Quantisierungen, oder verwenden Sie ein neueres llama.cpp.</translation>
        </message>
        <message>
            <source>Choose other quantizations. Q4_K_M works with every model.</source>
            <translation>Wählen Sie andere Quantisierungen. Q4_K_M funktioniert mit jedem Modell.</translation>
        </message>
        <message>
            <source>Choose quantizations that need no matrix, such as Q4_K_M, or update the engine.</source>
            <translation>Wählen Sie Quantisierungen ohne Matrix, etwa Q4_K_M, oder aktualisieren Sie die Engine.</translation>
        </message>
        <message>
            <source>Choose quantizations that need no matrix, such as Q4_K_M.</source>
            <translation>Wählen Sie Quantisierungen ohne Matrix, etwa Q4_K_M.</translation>
        </message>
        <message>
            <source>Choose the Python file.</source>
            <translation>Wählen Sie die Python-Datei.</translation>
        </message>
        <message>
            <source>Choose the backend automatically</source>
            <translation>Backend automatisch wählen</translation>
        </message>
        <message>
            <source>Choose the base model that the adapter was trained on, in the same version.</source>
            <translation>Wählen Sie das Basismodell, auf dem der Adapter trainiert wurde, in derselben Version.</translation>
        </message>
        <message>
            <source>Choose the default initialization, or a model that isn't stored quantized.</source>
            <translation>Wählen Sie die Standardinitialisierung oder ein Modell, das nicht quantisiert gespeichert ist.</translation>
        </message>
        <message>
            <source>Choose the file again.</source>
            <translation>Wählen Sie die Datei neu.</translation>
        </message>
        <message>
            <source>Choose the file tweets.js or direct-messages.js of the archive.</source>
            <translation>Wählen Sie die Datei tweets.js oder direct-messages.js aus dem Archiv.</translation>
        </message>
        <message>
            <source>Choose the folder of a llama.cpp checkout, or leave the field empty to use the built-in one.</source>
            <translation>Wählen Sie den Ordner eines llama.cpp-Checkouts oder lassen Sie das Feld leer, um das mitgelieferte zu verwenden.</translation>
        </message>
        <message>
            <source>Choose the folder of llama.cpp itself.</source>
            <translation>Wählen Sie den Ordner von llama.cpp selbst.</translation>
        </message>
        <message>
            <source>Choose the folder that contains config.json and .safetensors.</source>
            <translation>Wählen Sie den Ordner, der config.json und .safetensors enthält.</translation>
        </message>
        <message>
            <source>Choose the folder that contains only the data.</source>
            <translation>Wählen Sie den Ordner, der nur die Daten enthält.</translation>
        </message>
        <message>
            <source>Choose the folder that directly contains config.json and the .safetensors files.</source>
            <translation>Wählen Sie den Ordner, in dem config.json und die .safetensors-Dateien direkt liegen.</translation>
        </message>
        <message>
            <source>Choose the format first to see its slots.</source>
            <translation>Wählen Sie zuerst das Format, um seine Felder zu sehen.</translation>
        </message>
        <message>
            <source>Choose the format “Preference”. Map chosen to {first} and rejected to {second}. Map better to a column that is 1 or true where {first} is preferred, or to two score columns in braces with &gt; between them.</source>
            <translation>Wählen Sie das Format „Präferenz“. Ordnen Sie chosen der Spalte {first} zu und rejected der Spalte {second}. Ordnen Sie better einer Spalte zu, die 1 oder true enthält, wo {first} bevorzugt wird, oder zwei Spalten mit Bewertungen in geschweiften Klammern mit &gt; dazwischen.</translation>
        </message>
        <message>
            <source>Choose the format “Prompts for rewards” on the Dataset page.</source>
            <translation>Wählen Sie auf der Seite „Datensatz“ das Format „Prompts für Belohnungen“.</translation>
        </message>
        <message>
            <source>Choose the format “Question and answer”. Map question to {question} and answer to {answer}, or the other way round.</source>
            <translation>Wählen Sie das Format „Frage und Antwort“. Ordnen Sie question der Spalte {question} zu und answer der Spalte {answer}, oder umgekehrt.</translation>
        </message>
        <message>
            <source>Choose the model as a Hugging Face folder or Hub ID instead.</source>
            <translation>Wählen Sie das Modell stattdessen als Hugging-Face-Ordner oder Hub-ID.</translation>
        </message>
        <message>
            <source>Choose the model as a Hugging Face folder or Hub ID instead. Supported GGUF architectures: {names}.</source>
            <translation>Wählen Sie das Modell stattdessen als Hugging-Face-Ordner oder Hub-ID. Unterstützte GGUF-Architekturen: {names}.</translation>
        </message>
        <message>
            <source>Choose the model as a Hugging Face folder or Hub ID instead. Supported names: {names}.</source>
            <translation>Wählen Sie das Modell stattdessen als Hugging-Face-Ordner oder Hub-ID. Unterstützte Namen: {names}.</translation>
        </message>
        <message>
            <source>Choose the model folder that the model was made from.</source>
            <translation>Wählen Sie den Modellordner, aus dem das Modell erstellt wurde.</translation>
        </message>
        <message>
            <source>Choose the models and a test set.</source>
            <translation>Wählen Sie die Modelle und Testdaten.</translation>
        </message>
        <message>
            <source>Choose the original 16-bit model as the base of the merge.</source>
            <translation>Wählen Sie das 16-Bit-Original als Basis des Zusammenführens.</translation>
        </message>
        <message>
            <source>Choose the original data as text.</source>
            <translation>Wählen Sie die ursprünglichen Daten als Text.</translation>
        </message>
        <message>
            <source>Choose the repository of the model itself, with config.json and .safetensors files.</source>
            <translation>Wählen Sie das Repository des Modells selbst, mit config.json und .safetensors-Dateien.</translation>
        </message>
        <message>
            <source>Choose the unquantized original and 4-bit precision instead.</source>
            <translation>Wählen Sie stattdessen das unquantisierte Original und 4-Bit-Genauigkeit.</translation>
        </message>
        <message>
            <source>Choose “Last token” or “Mean” as the pooling, or another model.</source>
            <translation>Wählen Sie „Letztes Token“ oder „Mittelwert“ als Pooling oder ein anderes Modell.</translation>
        </message>
        <message>
            <source>Choosing the best adapter by its answers needs validation rows, but there are none.</source>
            <translation>Um den besten Adapter nach seinen Antworten zu wählen, sind Validierungszeilen nötig, aber es gibt keine.</translation>
        </message>
        <message>
            <source>Chosen</source>
            <translation>Bevorzugt</translation>
        </message>
        <message>
            <source>Chosen answer</source>
            <translation>Bevorzugte Antwort</translation>
        </message>
        <message>
            <source>Classifier</source>
            <translation>Klassifikator</translation>
        </message>
        <message>
            <source>Classify</source>
            <translation>Klassifizieren</translation>
        </message>
        <message>
            <source>Classify (Ctrl+Enter)</source>
            <translation>Klassifizieren (Strg+Eingabe)</translation>
        </message>
        <message>
            <source>Classify texts with `lora-studio classify`, or use the merged model with transformers, as its model card shows. To train a model that answers with the label, choose the format “Question and answer” for the data.</source>
            <translation>Klassifizieren Sie Texte mit `lora-studio classify`, oder verwenden Sie das zusammengeführte Modell mit transformers, wie es die Modellkarte zeigt. Für ein Modell, das mit dem Label antwortet, wählen Sie für die Daten das Format „Frage und Antwort“.</translation>
        </message>
        <message>
            <source>Classify texts with `lora-studio classify`, or use the merged model with transformers.</source>
            <translation>Klassifizieren Sie Texte mit `lora-studio classify`, oder verwenden Sie das zusammengeführte Modell mit transformers.</translation>
        </message>
        <message>
            <source>Classifying texts</source>
            <translation>Texte klassifizieren</translation>
        </message>
        <message>
            <source>Clear search and filter (Esc in the search field)</source>
            <translation>Suche und Filter löschen (Esc im Suchfeld)</translation>
        </message>
        <message>
            <source>Click columns to insert them, and type the text between them</source>
            <translation>Spalten anklicken, um sie einzufügen, und den Text dazwischen eingeben</translation>
        </message>
        <message>
            <source>Clip fraction</source>
            <translation>Clip-Anteil</translation>
        </message>
        <message>
            <source>Clip fraction above</source>
            <translation>Clip-Anteil nach oben</translation>
        </message>
        <message>
            <source>Clip fraction below</source>
            <translation>Clip-Anteil nach unten</translation>
        </message>
        <message>
            <source>Clip gradients at {value}</source>
            <translation>Gradienten auf {value} begrenzen</translation>
        </message>
        <message>
            <source>Clip range above</source>
            <translation>Clipping nach oben</translation>
        </message>
        <message>
            <source>Clip range below</source>
            <translation>Clipping nach unten</translation>
        </message>
        <message>
            <source>Close</source>
            <translation>Schließen</translation>
        </message>
        <message>
            <source>Close column</source>
            <translation>Spalte schließen</translation>
        </message>
        <message>
            <source>Close other programs and start the export again.</source>
            <translation>Schließen Sie andere Programme und starten Sie den Export erneut.</translation>
        </message>
        <message>
            <source>Close other programs and try again.</source>
            <translation>Schließen Sie andere Programme und versuchen Sie es erneut.</translation>
        </message>
        <message>
            <source>Close other programs that use memory, or shorten the conversation.</source>
            <translation>Schließen Sie andere Programme, die Speicher belegen, oder kürzen Sie das Gespräch.</translation>
        </message>
        <message>
            <source>Close other programs that use the device, choose a smaller model, or lower the maximum sequence length below {longest} tokens.</source>
            <translation>Schließen Sie andere Programme, die das Gerät nutzen, wählen Sie ein kleineres Modell, oder setzen Sie die maximale Sequenzlänge auf weniger als {longest} Tokens.</translation>
        </message>
        <message>
            <source>Close other programs, or raise the limit on processes (run `ulimit -u 4096` in the terminal before you start LoRA Studio).</source>
            <translation>Schließen Sie andere Programme oder erhöhen Sie die Grenze für Prozesse (führen Sie im Terminal `ulimit -u 4096` aus, bevor Sie LoRA Studio starten).</translation>
        </message>
        <message>
            <source>Close programs that use it, or delete it in the file manager.</source>
            <translation>Schließen Sie Programme, die darauf zugreifen, oder löschen Sie es im Dateimanager.</translation>
        </message>
        <message>
            <source>Close programs that use it, then delete the folder yourself.</source>
            <translation>Schließen Sie Programme, die sie benutzen, und löschen Sie den Ordner dann selbst.</translation>
        </message>
        <message>
            <source>Close programs that use the engine, then delete the folder yourself.</source>
            <translation>Schließen Sie Programme, die die Engine benutzen, und löschen Sie den Ordner dann selbst.</translation>
        </message>
        <message>
            <source>Close when finished</source>
            <translation>Schließen, wenn fertig</translation>
        </message>
        <message>
            <source>Code</source>
            <translation>Code</translation>
        </message>
        <message>
            <source>Code in your own style.</source>
            <translation>Code in Ihrem eigenen Stil.</translation>
        </message>
        <message>
            <source>Code of a reward</source>
            <translation>Code einer Belohnung</translation>
        </message>
        <message>
            <source>Code: {code}</source>
            <translation>Code: {code}</translation>
        </message>
        <message>
            <source>Colors</source>
            <translation>Farben</translation>
        </message>
        <message>
            <source>Column for {name}</source>
            <translation>Spalte für {name}</translation>
        </message>
        <message>
            <source>Column of your data with the expected text. Empty for the reference answer.</source>
            <translation>Spalte Ihrer Daten mit dem erwarteten Text. Leer für die Referenzantwort.</translation>
        </message>
        <message numerus="yes">
            <source>Columns {columns} fit “{format}” in {share}.</source>
            <translation>
                <numerusform>Die Spalte {columns} passt zu „{format}“ in {share}.</numerusform>
                <numerusform>Die Spalten {columns} passen zu „{format}“ in {share}.</numerusform>
            </translation>
        </message>
        <message>
            <source>Combination method</source>
            <translation>Kombinationsmethode</translation>
        </message>
        <message>
            <source>Combine</source>
            <translation>Kombinieren</translation>
        </message>
        <message>
            <source>Combine with</source>
            <translation>Kombinieren mit</translation>
        </message>
        <message>
            <source>Combining adapters</source>
            <translation>Adapter werden kombiniert</translation>
        </message>
        <message>
            <source>Comma-separated</source>
            <translation>Durch Kommas getrennt</translation>
        </message>
        <message>
            <source>Command</source>
            <translation>Befehl</translation>
        </message>
        <message>
            <source>Command palette</source>
            <translation>Befehlspalette</translation>
        </message>
        <message>
            <source>Command palette…</source>
            <translation>Befehlspalette…</translation>
        </message>
        <message>
            <source>Common ones are lm_head and embed_tokens.</source>
            <translation>Üblich sind lm_head und embed_tokens.</translation>
        </message>
        <message>
            <source>Compare</source>
            <translation>Vergleichen</translation>
        </message>
        <message>
            <source>Compare base model, adapter, and GGUF files on rows that weren't trained on, and see what was forgotten.</source>
            <translation>Vergleichen Sie Basismodell, Adapter und GGUF-Dateien an Zeilen, mit denen nicht trainiert wurde, und sehen Sie, was vergessen wurde.</translation>
        </message>
        <message>
            <source>Compare with</source>
            <translation>Vergleichen mit</translation>
        </message>
        <message>
            <source>Compared by</source>
            <translation>Verglichen von</translation>
        </message>
        <message>
            <source>Compared with</source>
            <translation>Verglichen mit</translation>
        </message>
        <message>
            <source>Compared with {column}</source>
            <translation>Verglichen mit {column}</translation>
        </message>
        <message>
            <source>Compared with {runs}.</source>
            <translation>Verglichen mit {runs}.</translation>
        </message>
        <message>
            <source>Compared with: {name}</source>
            <translation>Verglichen mit: {name}</translation>
        </message>
        <message>
            <source>Compares adapter, merged model, and each GGUF file on held-out rows: token by token, or the vectors of embedding models.</source>
            <translation>Vergleicht Adapter, zusammengeführtes Modell und jede GGUF-Datei auf zurückgehaltenen Zeilen: Token für Token, oder die Vektoren von Embedding-Modellen.</translation>
        </message>
        <message>
            <source>Compares each completion with the others to its prompt. The usual choice (Shao et al. 2024).</source>
            <translation>Vergleicht jede Antwort mit den anderen zu ihrem Prompt. Die übliche Wahl (Shao et al. 2024).</translation>
        </message>
        <message>
            <source>Compares whole completions instead of tokens, which is steadier for mixtures of experts and long completions (Zheng et al. 2025).</source>
            <translation>Vergleicht ganze Antworten statt einzelner Token. Das ist stabiler bei Mixture-of-Experts-Modellen und langen Antworten (Zheng et al. 2025).</translation>
        </message>
        <message>
            <source>Compatible with the project's model.</source>
            <translation>Passt zum Modell des Projekts.</translation>
        </message>
        <message>
            <source>Compatible, with a warning: {warning}</source>
            <translation>Passt, mit einer Einschränkung: {warning}</translation>
        </message>
        <message>
            <source>Compiled kernels can't compute gates: {reason}.</source>
            <translation>Kompilierte Kernel können die Gates nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Compiled kernels can't compute norms: {reason}.</source>
            <translation>Kompilierte Kernel können die Normen nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Compiled kernels can't compute rotary embeddings: {reason}.</source>
            <translation>Kompilierte Kernel können die Rotary Embeddings nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Compiled kernels compute {layers} of these layers.</source>
            <translation>Kompilierte Kernel berechnen {layers} dieser Schichten.</translation>
        </message>
        <message>
            <source>Compiles the feed-forward layers where that is faster. This is measured on the longest micro-batch before training, which takes about a minute.</source>
            <translation>Kompiliert die Feed-Forward-Schichten, wo das schneller ist. Gemessen wird vor dem Training am längsten Mikro-Batch; das dauert etwa eine Minute.</translation>
        </message>
        <message>
            <source>Complete its settings, or remove it.</source>
            <translation>Vervollständigen Sie ihre Einstellungen, oder entfernen Sie sie.</translation>
        </message>
        <message>
            <source>Completed files</source>
            <translation>Fertige Dateien</translation>
        </message>
        <message>
            <source>Completed files were kept.</source>
            <translation>Fertige Dateien bleiben erhalten.</translation>
        </message>
        <message>
            <source>Completion length</source>
            <translation>Antwortlänge</translation>
        </message>
        <message>
            <source>Completions of the base model and their rewards</source>
            <translation>Antworten des Basismodells und ihre Belohnungen</translation>
        </message>
        <message>
            <source>Completions per prompt</source>
            <translation>Antworten pro Prompt</translation>
        </message>
        <message>
            <source>Completions sampled per prompt. More give a steadier comparison and take more time.</source>
            <translation>Anzahl der Antworten, die pro Prompt erzeugt werden. Mehr Antworten machen den Vergleich stabiler und brauchen mehr Zeit.</translation>
        </message>
        <message>
            <source>Completions without a reward</source>
            <translation>Antworten ohne Belohnung</translation>
        </message>
        <message numerus="yes">
            <source>Computing with {n} threads, because this program may use that many processors.</source>
            <translation>
                <numerusform>Es rechnet {n} Thread, weil dieses Programm so viele Prozessoren nutzen darf.</numerusform>
                <numerusform>Es rechnen {n} Threads, weil dieses Programm so viele Prozessoren nutzen darf.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>Computing with {n} threads: other programs use {busy:.1f} of {cores} processors.</source>
            <translation>
                <numerusform>Es rechnet {n} Thread: Andere Programme nutzen {busy:.1f} von {cores} Prozessoren.</numerusform>
                <numerusform>Es rechnen {n} Threads: Andere Programme nutzen {busy:.1f} von {cores} Prozessoren.</numerusform>
            </translation>
        </message>
        <message>
            <source>Concatenates the rows of a micro-batch without padding; attention stays within each row. Same result, less time and memory.</source>
            <translation>Hängt die Zeilen eines Mikro-Batches ohne Padding aneinander; die Attention bleibt innerhalb jeder Zeile. Gleiches Ergebnis mit weniger Zeit und Speicher.</translation>
        </message>
        <message>
            <source>Concatenates: the exact weighted sum of the updates. The ranks add up.</source>
            <translation>Verkettet: die exakte gewichtete Summe der Updates. Die Ränge addieren sich.</translation>
        </message>
        <message>
            <source>Concatenation</source>
            <translation>Verkettung</translation>
        </message>
        <message>
            <source>Confusion matrix</source>
            <translation>Konfusionsmatrix</translation>
        </message>
        <message>
            <source>Connect and mount the disk, or choose another folder.</source>
            <translation>Schließen Sie den Datenträger an und hängen Sie ihn ein, oder wählen Sie einen anderen Ordner.</translation>
        </message>
        <message>
            <source>Connect to Ollama at {host}, and send models there.</source>
            <translation>Mit Ollama unter {host} verbinden und Modelle dorthin senden.</translation>
        </message>
        <message>
            <source>Connect to the network, or choose a file or folder on this computer.</source>
            <translation>Stellen Sie eine Netzwerkverbindung her oder wählen Sie eine Datei oder einen Ordner auf diesem Computer.</translation>
        </message>
        <message>
            <source>Connect to the network, or choose a model folder on this computer.</source>
            <translation>Stellen Sie eine Netzwerkverbindung her oder wählen Sie einen Modellordner auf diesem Computer.</translation>
        </message>
        <message>
            <source>Connecting to Ollama</source>
            <translation>Verbindung zu Ollama</translation>
        </message>
        <message>
            <source>Connecting to the Hub…</source>
            <translation>Verbindung zum Hub…</translation>
        </message>
        <message>
            <source>Connections can go through your proxy {hosts}.</source>
            <translation>Verbindungen können über Ihren Proxy {hosts} laufen.</translation>
        </message>
        <message>
            <source>Constant</source>
            <translation>Konstant</translation>
        </message>
        <message>
            <source>Contacted since this window opened</source>
            <translation>Kontaktiert, seit dieses Fenster geöffnet ist</translation>
        </message>
        <message>
            <source>Contains</source>
            <translation>Enthält</translation>
        </message>
        <message>
            <source>Content of the selected file</source>
            <translation>Inhalt der ausgewählten Datei</translation>
        </message>
        <message>
            <source>Context length</source>
            <translation>Kontextlänge</translation>
        </message>
        <message>
            <source>Continue</source>
            <translation>Weiter</translation>
        </message>
        <message>
            <source>Continue checking</source>
            <translation>Weiter prüfen</translation>
        </message>
        <message>
            <source>Continue counting rows</source>
            <translation>Zeilen weiter zählen</translation>
        </message>
        <message>
            <source>Continue evaluation</source>
            <translation>Auswertung fortsetzen</translation>
        </message>
        <message>
            <source>Continue in background</source>
            <translation>Im Hintergrund fortsetzen</translation>
        </message>
        <message>
            <source>Continue in that window, or close it and reopen the project. You can save changes you make here under another name.</source>
            <translation>Arbeiten Sie in dem anderen Fenster weiter oder schließen Sie es und öffnen Sie das Projekt erneut. Änderungen von hier lassen sich unter einem anderen Namen speichern.</translation>
        </message>
        <message>
            <source>Continue in the background</source>
            <translation>Im Hintergrund fortsetzen</translation>
        </message>
        <message>
            <source>Continue measuring rows</source>
            <translation>Messen der Zeilen fortsetzen</translation>
        </message>
        <message>
            <source>Continue reading rows</source>
            <translation>Lesen der Zeilen fortsetzen</translation>
        </message>
        <message>
            <source>Continue training</source>
            <translation>Weitertrainieren</translation>
        </message>
        <message>
            <source>Continue with the next step.</source>
            <translation>Weiter mit dem nächsten Schritt.</translation>
        </message>
        <message>
            <source>Continues from an adapter: {shape}. Settings that the adapter determines are disabled below.</source>
            <translation>Setzt ein Adapter-Training fort: {shape}. Einstellungen, die der Adapter vorgibt, sind unten deaktiviert.</translation>
        </message>
        <message>
            <source>Contradictions</source>
            <translation>Widersprüche</translation>
        </message>
        <message>
            <source>Control characters</source>
            <translation>Steuerzeichen</translation>
        </message>
        <message>
            <source>Conversation</source>
            <translation>Unterhaltung</translation>
        </message>
        <message>
            <source>Conversations with tool calls will fail on Ollama {version}. They need {need}.</source>
            <translation>Gespräche mit Tool-Aufrufen scheitern mit Ollama {version}. Sie brauchen {need}.</translation>
        </message>
        <message>
            <source>Convert from</source>
            <translation>Umwandeln aus</translation>
        </message>
        <message>
            <source>Convert the merged model, or merge base model and adapter on the fly, which needs no disk space for a merged copy. On the fly, a bfloat16 base model is converted through float16, which preserves small updates, unless you set a merge precision or want a BF16 file. If you want a BF16 file, the merged model is converted even if rounding changed it.</source>
            <translation>Das zusammengeführte Modell konvertieren oder Basismodell und Adapter beim Lesen zusammenführen, ganz ohne Kopie auf der Festplatte. Im zweiten Fall wird ein bfloat16-Basismodell über float16 konvertiert, das kleine Änderungen erhält, außer wenn beim Zusammenführen eine Genauigkeit gewählt ist oder eine BF16-Datei geschrieben wird. Für eine BF16-Datei wird das zusammengeführte Modell auch dann konvertiert, wenn das Runden es verändert hat.</translation>
        </message>
        <message>
            <source>Converted</source>
            <translation>Konvertiert</translation>
        </message>
        <message>
            <source>Converted with {converter}, quantized with {quantizer}.</source>
            <translation>Konvertiert mit {converter}, quantisiert mit {quantizer}.</translation>
        </message>
        <message>
            <source>Copied: {text}</source>
            <translation>Kopiert: {text}</translation>
        </message>
        <message>
            <source>Copies this run's settings into the project; you can undo this</source>
            <translation>Kopiert die Einstellungen dieses Laufs in das Projekt; lässt sich rückgängig machen</translation>
        </message>
        <message>
            <source>Copy</source>
            <translation>Kopieren</translation>
        </message>
        <message>
            <source>Copy API key</source>
            <translation>API-Schlüssel kopieren</translation>
        </message>
        <message>
            <source>Copy Python code</source>
            <translation>Python-Code kopieren</translation>
        </message>
        <message>
            <source>Copy address</source>
            <translation>Adresse kopieren</translation>
        </message>
        <message>
            <source>Copy answer</source>
            <translation>Antwort kopieren</translation>
        </message>
        <message>
            <source>Copy curl command</source>
            <translation>curl-Befehl kopieren</translation>
        </message>
        <message>
            <source>Copy curl command for Ollama</source>
            <translation>curl-Befehl für Ollama kopieren</translation>
        </message>
        <message>
            <source>Copy it again from your Hugging Face settings. Read access is enough.</source>
            <translation>Kopieren Sie es noch einmal aus Ihren Hugging-Face-Einstellungen. Lesezugriff genügt.</translation>
        </message>
        <message>
            <source>Copy it again, or run `lora-studio engine wheelhouse FOLDER` on the other computer, which downloads only missing or damaged files.</source>
            <translation>Kopieren Sie die Datei noch einmal oder führen Sie auf dem anderen Computer `lora-studio engine wheelhouse ORDNER` aus: Nur fehlende oder beschädigte Dateien werden heruntergeladen.</translation>
        </message>
        <message>
            <source>Copy it into the run's folder, then start again.</source>
            <translation>Kopieren Sie es in den Ordner des Laufs und starten Sie erneut.</translation>
        </message>
        <message>
            <source>Copy llama.cpp command</source>
            <translation>llama.cpp-Befehl kopieren</translation>
        </message>
        <message>
            <source>Copy one from your Hugging Face settings and paste it here.</source>
            <translation>Kopieren Sie eines aus Ihren Hugging-Face-Einstellungen und fügen Sie es hier ein.</translation>
        </message>
        <message>
            <source>Copy or download the adapter again, or ask its author for the file that PEFT wrote.</source>
            <translation>Kopieren oder laden Sie den Adapter erneut oder bitten Sie den Autor um die von PEFT geschriebene Datei.</translation>
        </message>
        <message>
            <source>Copy or download the adapter again.</source>
            <translation>Kopieren Sie den Adapter noch einmal oder laden Sie ihn neu herunter.</translation>
        </message>
        <message>
            <source>Copy or download the adapter again. If it was never complete, ask its author for the missing weights.</source>
            <translation>Kopiere oder lade den Adapter noch einmal. Wenn er nie vollständig war, bitte den Autor um die fehlenden Gewichte.</translation>
        </message>
        <message>
            <source>Copy or download the file again.</source>
            <translation>Kopieren oder laden Sie die Datei erneut.</translation>
        </message>
        <message>
            <source>Copy settings</source>
            <translation>Einstellungen übernehmen</translation>
        </message>
        <message>
            <source>Copy text</source>
            <translation>Text kopieren</translation>
        </message>
        <message>
            <source>Copy that code into the folder and correct the reference (`auto_map`), or turn off “Trust remote code”.</source>
            <translation>Kopieren Sie diesen Code in den Ordner und berichtigen Sie den Verweis (`auto_map`), oder schalten Sie „Remote-Code vertrauen“ aus.</translation>
        </message>
        <message>
            <source>Copy the model's own files to a new folder, and choose that.</source>
            <translation>Kopieren Sie die Dateien des Modells in einen neuen Ordner, und wählen Sie diesen.</translation>
        </message>
        <message>
            <source>Copy tokenizer.json next to the adapter, as training saved it.</source>
            <translation>Kopieren Sie die beim Training gespeicherte tokenizer.json in den Ordner des Adapters.</translation>
        </message>
        <message>
            <source>Copy versions</source>
            <translation>Versionen kopieren</translation>
        </message>
        <message>
            <source>Copy {name}</source>
            <translation>{name} kopieren</translation>
        </message>
        <message>
            <source>Copy {source}</source>
            <translation>{source} kopieren</translation>
        </message>
        <message>
            <source>Copy “{command}”</source>
            <translation>„{command}“ kopieren</translation>
        </message>
        <message>
            <source>Copying for the cluster</source>
            <translation>Kopieren für den Cluster</translation>
        </message>
        <message>
            <source>Copying the Ollama model</source>
            <translation>Ollama-Modell wird kopiert</translation>
        </message>
        <message>
            <source>Correct</source>
            <translation>Richtig</translation>
        </message>
        <message>
            <source>Correct it there. Ollama would reject it, too.</source>
            <translation>Korrigieren Sie es dort. Auch Ollama würde es ablehnen.</translation>
        </message>
        <message>
            <source>Correct it. `lora-studio template render` shows what it says.</source>
            <translation>Korrigieren Sie sie. `lora-studio template render` zeigt ihre Meldung.</translation>
        </message>
        <message>
            <source>Correct or remove the variable SSL_CERT_FILE or pip's `cert` setting.</source>
            <translation>Korrigieren oder entfernen Sie die Variable SSL_CERT_FILE oder pips Einstellung `cert`.</translation>
        </message>
        <message>
            <source>Correct that line, or write one JSON object per line.</source>
            <translation>Korrigieren Sie diese Zeile oder schreiben Sie ein JSON-Objekt pro Zeile.</translation>
        </message>
        <message>
            <source>Correct the address and the name of the model.</source>
            <translation>Korrigieren Sie die Adresse und den Namen des Modells.</translation>
        </message>
        <message>
            <source>Correct the expression after regex:, for example regex:^(yes|no)$.</source>
            <translation>Korrigieren Sie den Ausdruck nach regex:, zum Beispiel regex:^(ja|nein)$.</translation>
        </message>
        <message>
            <source>Correct the row in its file. All other rows are used.</source>
            <translation>Korrigieren Sie die Zeile in ihrer Datei. Alle anderen Zeilen werden verwendet.</translation>
        </message>
        <message>
            <source>Correct the rows, or choose another file.</source>
            <translation>Berichtigen Sie die Zeilen, oder wählen Sie eine andere Datei.</translation>
        </message>
        <message>
            <source>Correct the template, or send a conversation that it accepts.</source>
            <translation>Korrigieren Sie die Vorlage, oder geben Sie ein Gespräch an, das sie annimmt.</translation>
        </message>
        <message>
            <source>Correct these rows, and classify the file again.</source>
            <translation>Korrigieren Sie diese Zeilen und klassifizieren Sie die Datei erneut.</translation>
        </message>
        <message>
            <source>Corrects for pairs whose responses were swapped by mistake (Ray Chowdhury et al. 2024).</source>
            <translation>Gleicht Paare aus, deren Antworten versehentlich vertauscht sind (Ray Chowdhury et al. 2024).</translation>
        </message>
        <message>
            <source>Cosine</source>
            <translation>Kosinus</translation>
        </message>
        <message>
            <source>Cosine to a minimum</source>
            <translation>Kosinus bis zum Minimum</translation>
        </message>
        <message>
            <source>Cosine with restarts</source>
            <translation>Kosinus mit Neustarts</translation>
        </message>
        <message>
            <source>Couldn't change the queue: {reason}.</source>
            <translation>Die Warteschlange konnte nicht geändert werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't create the run folder: {reason}.</source>
            <translation>Der Ordner für den Lauf konnte nicht angelegt werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't read project.toml: {reason}.</source>
            <translation>project.toml konnte nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't read the Python code in {folder}: {reason}.</source>
            <translation>Der Python-Code in {folder} konnte nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't read the reward's Python file {file}: {reason}.</source>
            <translation>Die Python-Datei {file} der Belohnung konnte nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't read the rows</source>
            <translation>Die Zeilen konnten nicht gelesen werden</translation>
        </message>
        <message>
            <source>Couldn't read the votes of this project: {reason}.</source>
            <translation>Die Stimmen dieses Projekts konnten nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't read {file}: {reason}.</source>
            <translation>{file} konnte nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't save the playground: {reason}.</source>
            <translation>Der Playground konnte nicht gespeichert werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't save the project: {reason}.</source>
            <translation>Das Projekt konnte nicht gespeichert werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't save {file}: {reason}.</source>
            <translation>{file} konnte nicht gespeichert werden: {reason}.</translation>
        </message>
        <message>
            <source>Couldn't write the folder: {reason}.</source>
            <translation>Der Ordner konnte nicht geschrieben werden: {reason}.</translation>
        </message>
        <message>
            <source>Counting the rows to train on</source>
            <translation>Trainingszeilen werden gezählt</translation>
        </message>
        <message>
            <source>Create</source>
            <translation>Anlegen</translation>
        </message>
        <message>
            <source>Create a token…</source>
            <translation>Token erstellen…</translation>
        </message>
        <message>
            <source>Create a wheel folder on a computer with internet access: `lora-studio engine wheelhouse FOLDER`.</source>
            <translation>Erstellen Sie einen Wheel-Ordner auf einem Computer mit Internetzugang: `lora-studio engine wheelhouse ORDNER`.</translation>
        </message>
        <message>
            <source>Create anyway</source>
            <translation>Trotzdem erstellen</translation>
        </message>
        <message>
            <source>Create in Ollama</source>
            <translation>In Ollama anlegen</translation>
        </message>
        <message>
            <source>Create it again for this operating system and Python version: `lora-studio engine wheelhouse FOLDER`.</source>
            <translation>Erstellen Sie ihn für dieses Betriebssystem und diese Python-Version neu: `lora-studio engine wheelhouse ORDNER`.</translation>
        </message>
        <message>
            <source>Create it again with this version of LoRA Studio.</source>
            <translation>Erstellen Sie ihn mit dieser Version von LoRA Studio neu.</translation>
        </message>
        <message>
            <source>Create it as {suggestion}, or leave the size out of the name.</source>
            <translation>Erstellen Sie es als {suggestion}, oder lassen Sie die Größe im Namen weg.</translation>
        </message>
        <message>
            <source>Create model in Ollama</source>
            <translation>Modell in Ollama erstellen</translation>
        </message>
        <message>
            <source>Create the model anyway?</source>
            <translation>Modell trotzdem erstellen?</translation>
        </message>
        <message>
            <source>Created with</source>
            <translation>Erstellt mit</translation>
        </message>
        <message>
            <source>Creates GGUF files directly from the base model and the adapter, without writing a merged copy.</source>
            <translation>Erzeugt GGUF-Dateien direkt aus Basismodell und Adapter, ohne eine zusammengeführte Kopie zu schreiben.</translation>
        </message>
        <message>
            <source>Creates a folder that you can copy to another computer and train with one command</source>
            <translation>Erstellt einen Ordner, den Sie auf einen anderen Computer kopieren und dort mit einem Befehl trainieren können</translation>
        </message>
        <message>
            <source>Creates the model in Ollama if a server is running.</source>
            <translation>Legt das Modell in Ollama an, wenn ein Server läuft.</translation>
        </message>
        <message>
            <source>Creates {folder}</source>
            <translation>Legt {folder} an</translation>
        </message>
        <message>
            <source>Creating the Ollama model</source>
            <translation>Ollama-Modell wird angelegt</translation>
        </message>
        <message>
            <source>Creating the model in Ollama…</source>
            <translation>Modell wird in Ollama erstellt…</translation>
        </message>
        <message>
            <source>Criteria</source>
            <translation>Kriterien</translation>
        </message>
        <message>
            <source>Croatian</source>
            <translation>Kroatisch</translation>
        </message>
        <message>
            <source>Cross-entropy</source>
            <translation>Kreuzentropie</translation>
        </message>
        <message>
            <source>Currently used: {tools}.</source>
            <translation>Zurzeit verwendet: {tools}.</translation>
        </message>
        <message>
            <source>Currently {ratio} × rank.</source>
            <translation>Derzeit {ratio} × Rang.</translation>
        </message>
        <message>
            <source>Curves</source>
            <translation>Kurven</translation>
        </message>
        <message>
            <source>Curves of the selected runs</source>
            <translation>Kurven der ausgewählten Läufe</translation>
        </message>
        <message>
            <source>Cut at the maximum length</source>
            <translation>Bei der maximalen Länge abgeschnitten</translation>
        </message>
        <message>
            <source>Cuts off an answer after this many tokens.</source>
            <translation>Bricht eine Antwort nach so vielen Tokens ab.</translation>
        </message>
        <message>
            <source>Cycles</source>
            <translation>Zyklen</translation>
        </message>
        <message>
            <source>Czech</source>
            <translation>Tschechisch</translation>
        </message>
        <message>
            <source>DAPO</source>
            <translation>DAPO</translation>
        </message>
        <message>
            <source>DAPO learns nothing from such completions. Increase “Max. completion length”.</source>
            <translation>DAPO lernt aus solchen Antworten nichts. Erhöhen Sie „Max. Antwortlänge“.</translation>
        </message>
        <message>
            <source>DARE (TIES)</source>
            <translation>DARE (TIES)</translation>
        </message>
        <message>
            <source>DARE (linear)</source>
            <translation>DARE (linear)</translation>
        </message>
        <message>
            <source>DPO</source>
            <translation>DPO</translation>
        </message>
        <message>
            <source>DPO loss</source>
            <translation>DPO-Verlust</translation>
        </message>
        <message>
            <source>Danish</source>
            <translation>Dänisch</translation>
        </message>
        <message>
            <source>Dark</source>
            <translation>Dunkel</translation>
        </message>
        <message>
            <source>Data</source>
            <translation>Daten</translation>
        </message>
        <message>
            <source>Data problems appear here once all rows are read.</source>
            <translation>Probleme in den Daten erscheinen hier, sobald alle Zeilen gelesen sind.</translation>
        </message>
        <message>
            <source>Data that would leave this computer</source>
            <translation>Daten, die diesen Computer verlassen würden</translation>
        </message>
        <message>
            <source>Data type</source>
            <translation>Datentyp</translation>
        </message>
        <message>
            <source>Dataset</source>
            <translation>Datensatz</translation>
        </message>
        <message>
            <source>Dataset download</source>
            <translation>Download von Datensätzen</translation>
        </message>
        <message>
            <source>Dataset sources</source>
            <translation>Quellen des Datensatzes</translation>
        </message>
        <message>
            <source>Dataset views</source>
            <translation>Ansichten des Datensatzes</translation>
        </message>
        <message>
            <source>Dataset: {task}; {read} rows read, {train} for training, {validation} for validation, {skipped} skipped</source>
            <translation>Datensatz: {task}; {read} Zeilen gelesen, {train} fürs Training, {validation} für die Validierung, {skipped} übersprungen</translation>
        </message>
        <message>
            <source>Datasets (*.json *.jsonl *.csv *.parquet *.txt);;All files (*)</source>
            <translation>Datensätze (*.json *.jsonl *.csv *.parquet *.txt);;Alle Dateien (*)</translation>
        </message>
        <message>
            <source>Datasets ({patterns})</source>
            <translation>Datensätze ({patterns})</translation>
        </message>
        <message>
            <source>Decay ratio</source>
            <translation>Anteil des Abfalls</translation>
        </message>
        <message>
            <source>Decide by eval loss</source>
            <translation>Nach Eval-Loss entscheiden</translation>
        </message>
        <message>
            <source>Decide by eval loss.</source>
            <translation>Entscheiden Sie nach dem Eval-Loss.</translation>
        </message>
        <message>
            <source>Decides on the best adapter and early stopping: eval loss, or the score of answers to validation rows, which takes longer.</source>
            <translation>Entscheidet über den besten Adapter und Early Stopping: der Eval-Loss oder die Bewertung der Antworten auf Validierungszeilen, was länger dauert.</translation>
        </message>
        <message>
            <source>Default</source>
            <translation>Vorgabe</translation>
        </message>
        <message>
            <source>Default context window of the Ollama model.</source>
            <translation>Standardgröße des Kontextfensters des Ollama-Modells.</translation>
        </message>
        <message>
            <source>Default sampling temperature of the Ollama model. 0 always picks the most likely token.</source>
            <translation>Standardtemperatur des Ollama-Modells. 0 wählt immer das wahrscheinlichste Token.</translation>
        </message>
        <message>
            <source>Default system prompt of the Ollama model. Leave empty for the chat template's own.</source>
            <translation>Standard-Systemprompt des Ollama-Modells. Leer lassen für den der Chat-Vorlage.</translation>
        </message>
        <message>
            <source>Default: {value}{unit}</source>
            <translation>Vorgabe: {value}{unit}</translation>
        </message>
        <message>
            <source>Delete ({size})</source>
            <translation>Löschen ({size})</translation>
        </message>
        <message>
            <source>Delete checkpoints only ({size})</source>
            <translation>Nur Checkpoints löschen ({size})</translation>
        </message>
        <message>
            <source>Delete record</source>
            <translation>Aufzeichnung löschen</translation>
        </message>
        <message>
            <source>Delete some of your files on this disk or move the project to another disk, then start this step again. Files that were complete are unchanged.</source>
            <translation>Löschen Sie eigene Dateien auf diesem Datenträger oder verschieben Sie das Projekt auf einen anderen und starten Sie diesen Schritt dann neu. Fertige Dateien sind unverändert.</translation>
        </message>
        <message>
            <source>Delete {name}?</source>
            <translation>{name} löschen?</translation>
        </message>
        <message numerus="yes">
            <source>Delete {n} runs?</source>
            <translation>
                <numerusform>{n} Lauf löschen?</numerusform>
                <numerusform>{n} Läufe löschen?</numerusform>
            </translation>
        </message>
        <message>
            <source>Deletes {size} of prepared data and downloads, such as the built-in model. Projects, runs, and your other models stay. What is needed again is downloaded or computed again.</source>
            <translation>Löscht {size} an vorbereiteten Daten und Downloads, etwa das eingebaute Modell. Projekte, Läufe und Ihre anderen Modelle bleiben. Was wieder gebraucht wird, wird neu geladen oder berechnet.</translation>
        </message>
        <message>
            <source>Delete…</source>
            <translation>Löschen…</translation>
        </message>
        <message>
            <source>Deleting the Ollama model</source>
            <translation>Ollama-Modell wird gelöscht</translation>
        </message>
        <message>
            <source>Density</source>
            <translation>Dichte</translation>
        </message>
        <message>
            <source>Density: fraction of values to keep</source>
            <translation>Dichte: Anteil der behaltenen Werte</translation>
        </message>
        <message>
            <source>Deriving the Ollama template</source>
            <translation>Ollama-Vorlage wird abgeleitet</translation>
        </message>
        <message>
            <source>Describe the model's role and how it should answer</source>
            <translation>Beschreiben Sie die Rolle des Modells und wie es antworten soll</translation>
        </message>
        <message>
            <source>Designed for {only_for}.</source>
            <translation>Gedacht für {only_for}.</translation>
        </message>
        <message>
            <source>Details</source>
            <translation>Details</translation>
        </message>
        <message>
            <source>Details are in its output. Update llama.cpp, or serve a smaller GGUF file.</source>
            <translation>Einzelheiten stehen in der Ausgabe des Programms. Aktualisieren Sie llama.cpp oder stellen Sie eine kleinere GGUF-Datei bereit.</translation>
        </message>
        <message>
            <source>Details are in the engine's log.</source>
            <translation>Details stehen im Protokoll der Engine.</translation>
        </message>
        <message>
            <source>Details are in the log. A newer llama.cpp may help: choose its folder on the Export page.</source>
            <translation>Details stehen im Protokoll. Ein neueres llama.cpp könnte helfen: Wählen Sie seinen Ordner auf der Seite „Export“.</translation>
        </message>
        <message>
            <source>Details are in the run's log. Everything saved before is kept.</source>
            <translation>Details stehen im Protokoll des Laufs. Alles zuvor Gespeicherte bleibt erhalten.</translation>
        </message>
        <message>
            <source>Details are in the run's log. You can resume from the last checkpoint, even with fewer devices.</source>
            <translation>Details stehen im Protokoll des Laufs. Sie können ab dem letzten Checkpoint fortsetzen, auch mit weniger Geräten.</translation>
        </message>
        <message>
            <source>Detected: {format}</source>
            <translation>Erkannt: {format}</translation>
        </message>
        <message>
            <source>Device</source>
            <translation>Gerät</translation>
        </message>
        <message>
            <source>Device to train on: auto, cpu, mps, cuda, or one GPU such as cuda:1. Name several to train in parallel, each on a part of every batch: cuda:0,cuda:1 for two GPUs, cpu:2 for two CPU processes.</source>
            <translation>Gerät, auf dem trainiert wird: auto, cpu, mps, cuda oder eine einzelne GPU wie cuda:1. Mehrere trainieren parallel, jedes an einem Teil jedes Batches: cuda:0,cuda:1 für zwei GPUs, cpu:2 für zwei Prozesse auf der CPU.</translation>
        </message>
        <message>
            <source>Diagnostics file</source>
            <translation>Diagnosedatei</translation>
        </message>
        <message>
            <source>Diagnostics file…</source>
            <translation>Diagnosedatei…</translation>
        </message>
        <message>
            <source>Differences between the runs</source>
            <translation>Unterschiede zwischen den Läufen</translation>
        </message>
        <message>
            <source>Differences only</source>
            <translation>Nur Unterschiede</translation>
        </message>
        <message>
            <source>Different answer from</source>
            <translation>Andere Antwort als</translation>
        </message>
        <message>
            <source>Different ranks for some modules, such as q_proj=32, or q_proj=32:64 for rank 32 and alpha 64.</source>
            <translation>Andere Ränge für einzelne Module, etwa q_proj=32, oder q_proj=32:64 für Rang 32 und Alpha 64.</translation>
        </message>
        <message>
            <source>Dimension of the low-rank update. Use 8 for tone and format, 16 for most tasks, 32 for a new domain, 64 for a lot of new material. Memory and file size grow with it.</source>
            <translation>Dimension des Low-Rank-Updates. 8 für Ton und Format, 16 für die meisten Aufgaben, 32 für ein neues Fachgebiet, 64 für viel neues Material. Speicherbedarf und Dateigröße wachsen mit.</translation>
        </message>
        <message>
            <source>Direct messages on X</source>
            <translation>Direktnachrichten auf X</translation>
        </message>
        <message>
            <source>Discard</source>
            <translation>Verwerfen</translation>
        </message>
        <message>
            <source>Discord chat</source>
            <translation>Discord-Chat</translation>
        </message>
        <message>
            <source>Disk space</source>
            <translation>Speicherplatz</translation>
        </message>
        <message>
            <source>Disk space: {files}, plus {temporary} during the export.</source>
            <translation>Speicherplatz: {files}, während des Exports zusätzlich {temporary}.</translation>
        </message>
        <message>
            <source>Disk space: {files}.</source>
            <translation>Speicherplatz: {files}.</translation>
        </message>
        <message>
            <source>Dismiss</source>
            <translation>Ausblenden</translation>
        </message>
        <message>
            <source>Distance from the range over which the value falls from 1 to 0.</source>
            <translation>Abstand vom Bereich, über den der Wert von 1 auf 0 fällt.</translation>
        </message>
        <message>
            <source>Distillation temperature</source>
            <translation>Temperatur der Destillation</translation>
        </message>
        <message>
            <source>Divide the learning rate by three or raise the KL weight, then train again.</source>
            <translation>Teilen Sie die Lernrate durch drei oder erhöhen Sie das KL-Gewicht, und trainieren Sie dann noch einmal.</translation>
        </message>
        <message>
            <source>Divide the learning rate by three or use a longer warmup, then train again.</source>
            <translation>Senken Sie die Lernrate auf ein Drittel oder verlängern Sie das Warmup und trainieren Sie dann neu.</translation>
        </message>
        <message>
            <source>Divides the logits of both models. Above 1, unlikely tokens count more, so raise the teacher tokens as well: all others count as one. 1 to 4 is common.</source>
            <translation>Teilt die Logits beider Modelle. Über 1 zählen unwahrscheinliche Token mehr. Erhöhen Sie dann auch die Zahl der „Tokens des Lehrers“, denn alle übrigen zählen als eines. Üblich ist 1 bis 4.</translation>
        </message>
        <message>
            <source>DoRA</source>
            <translation>DoRA</translation>
        </message>
        <message>
            <source>DoRA can't be used with 8-bit weights: it needs the norms of their rows.</source>
            <translation>DoRA funktioniert nicht mit 8-Bit-Gewichten: Es braucht die Normen ihrer Zeilen.</translation>
        </message>
        <message>
            <source>Documents longer than {limit} tokens are split ({rows} of the rows). The longest row has {longest} tokens.</source>
            <translation>Dokumente mit mehr als {limit} Tokens werden geteilt ({rows} der Zeilen). Die längste Zeile hat {longest} Tokens.</translation>
        </message>
        <message>
            <source>Don't change the dataset's files while training starts, and start it again.</source>
            <translation>Ändern Sie die Dateien des Datensatzes nicht, während das Training startet, und starten Sie es noch einmal.</translation>
        </message>
        <message>
            <source>Don't send a system message, or choose a chat template with system messages before training.</source>
            <translation>Senden Sie keine Systemnachricht, oder wählen Sie vor dem Training eine Chat-Vorlage mit Systemnachrichten.</translation>
        </message>
        <message>
            <source>Don't train biases, or choose ORPO or SimPO, which need no reference model.</source>
            <translation>Trainieren Sie keine Biases, oder wählen Sie ORPO oder SimPO, die kein Referenzmodell brauchen.</translation>
        </message>
        <message>
            <source>Don't use it. Export again.</source>
            <translation>Verwenden Sie die Datei nicht. Exportieren Sie erneut.</translation>
        </message>
        <message>
            <source>Don't use it. Export again. If that doesn't help, choose another version of llama.cpp.</source>
            <translation>Verwenden Sie die Datei nicht. Exportieren Sie erneut. Hilft das nicht, wählen Sie eine andere Version von llama.cpp.</translation>
        </message>
        <message>
            <source>Don't use it. Merge again, then export again. Details are in the log.</source>
            <translation>Verwenden Sie es nicht. Führen Sie noch einmal zusammen und exportieren Sie dann neu. Details stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Don't use the GGUF files. Choose another version of llama.cpp, or merge again and then export again.</source>
            <translation>Verwenden Sie die GGUF-Dateien nicht. Wählen Sie eine andere Version von llama.cpp, oder führen Sie Modell und Adapter erneut zusammen und exportieren Sie dann erneut.</translation>
        </message>
        <message>
            <source>Don't use this server. Check the address in HF_ENDPOINT and your proxy settings.</source>
            <translation>Verwenden Sie diesen Server nicht. Prüfen Sie die Adresse in HF_ENDPOINT und Ihre Proxy-Einstellungen.</translation>
        </message>
        <message>
            <source>Done</source>
            <translation>Fertig</translation>
        </message>
        <message>
            <source>Done.</source>
            <translation>Fertig.</translation>
        </message>
        <message>
            <source>Double quantization</source>
            <translation>Doppelte Quantisierung</translation>
        </message>
        <message>
            <source>Download</source>
            <translation>Herunterladen</translation>
        </message>
        <message>
            <source>Download canceled. The part already downloaded is kept.</source>
            <translation>Download abgebrochen. Bereits Heruntergeladenes bleibt erhalten.</translation>
        </message>
        <message>
            <source>Download or copy the file again. It is damaged or incomplete.</source>
            <translation>Laden oder kopieren Sie die Datei noch einmal. Sie ist beschädigt oder unvollständig.</translation>
        </message>
        <message>
            <source>Download or copy the model again, or choose another one. Its tokenizer.json may be damaged or made to use up time.</source>
            <translation>Laden oder kopieren Sie das Modell erneut oder wählen Sie ein anderes. Seine tokenizer.json ist vielleicht beschädigt oder soll Rechenzeit verbrauchen.</translation>
        </message>
        <message>
            <source>Download or copy the model again. A file is damaged or missing.</source>
            <translation>Laden oder kopieren Sie das Modell noch einmal. Eine Datei ist beschädigt oder fehlt.</translation>
        </message>
        <message>
            <source>Download or create the file again.</source>
            <translation>Laden Sie die Datei erneut herunter oder erstellen Sie sie neu.</translation>
        </message>
        <message>
            <source>Download the dataset {dataset} from Hugging Face.</source>
            <translation>Den Datensatz {dataset} von Hugging Face herunterladen.</translation>
        </message>
        <message>
            <source>Download the file again, or correct its extension.</source>
            <translation>Laden Sie die Datei erneut herunter oder korrigieren Sie ihre Endung.</translation>
        </message>
        <message>
            <source>Download the model {model} from Hugging Face.</source>
            <translation>Das Modell {model} von Hugging Face herunterladen.</translation>
        </message>
        <message>
            <source>Download {size}</source>
            <translation>{size} herunterladen</translation>
        </message>
        <message>
            <source>Downloading</source>
            <translation>Herunterladen</translation>
        </message>
        <message>
            <source>Downloading Python</source>
            <translation>Python herunterladen</translation>
        </message>
        <message>
            <source>Downloading the model</source>
            <translation>Modell wird heruntergeladen</translation>
        </message>
        <message>
            <source>Downloads</source>
            <translation>Downloads</translation>
        </message>
        <message>
            <source>Dr. GRPO</source>
            <translation>Dr. GRPO</translation>
        </message>
        <message>
            <source>Drag or press Alt+Up/Alt+Down to reorder, Delete to remove</source>
            <translation>Mit der Maus oder Alt+Auf/Alt+Ab umordnen, mit Entf entfernen</translation>
        </message>
        <message>
            <source>Drag the line, or use the arrow keys (Shift: 1 token, Page: 512).</source>
            <translation>Ziehen Sie die Linie oder nehmen Sie die Pfeiltasten (Umschalt: 1 Token, Bild: 512).</translation>
        </message>
        <message>
            <source>Drop files or folders anywhere on this page, or choose them.</source>
            <translation>Legen Sie Dateien oder Ordner irgendwo auf dieser Seite ab, oder wählen Sie welche.</translation>
        </message>
        <message>
            <source>Drop your files here; common formats are detected. You see each row exactly as the model does, and mistakes are found before you train.</source>
            <translation>Ziehen Sie Ihre Dateien hierher; gängige Formate werden erkannt. Sie sehen jede Zeile genau so wie das Modell, und Fehler werden vor dem Training gefunden.</translation>
        </message>
        <message>
            <source>Dropout</source>
            <translation>Dropout</translation>
        </message>
        <message>
            <source>Dropout {value}</source>
            <translation>Dropout {value}</translation>
        </message>
        <message>
            <source>Drops random values and resolves signs by majority (DARE with TIES).</source>
            <translation>Verwirft zufällige Werte und bestimmt Vorzeichen per Mehrheit (DARE mit TIES).</translation>
        </message>
        <message>
            <source>Drops random values, rescales the rest, and adds them (DARE).</source>
            <translation>Verwirft zufällige Werte, skaliert die übrigen und addiert sie (DARE).</translation>
        </message>
        <message>
            <source>Drops small values and adds the rest. Needs equal ranks.</source>
            <translation>Verwirft kleine Werte und addiert die übrigen. Braucht gleiche Ränge.</translation>
        </message>
        <message>
            <source>Drops small values and resolves signs by majority (TIES). Needs equal ranks.</source>
            <translation>Verwirft kleine Werte und bestimmt Vorzeichen per Mehrheit (TIES). Braucht gleiche Ränge.</translation>
        </message>
        <message>
            <source>Duplicate rows</source>
            <translation>Doppelte Zeilen</translation>
        </message>
        <message>
            <source>Duration</source>
            <translation>Dauer</translation>
        </message>
        <message>
            <source>During training on several devices or computers</source>
            <translation>Beim Training auf mehreren Geräten oder Computern</translation>
        </message>
        <message>
            <source>During training, if you select this tracker</source>
            <translation>Beim Training, wenn Sie diesen Tracker auswählen</translation>
        </message>
        <message>
            <source>Dutch</source>
            <translation>Niederländisch</translation>
        </message>
        <message>
            <source>EVA</source>
            <translation>EVA</translation>
        </message>
        <message>
            <source>EVA needs at least {rank} trained tokens, as many as the rank; the rows have fewer.</source>
            <translation>EVA braucht mindestens {rank} trainierte Tokens, so viele wie der Rang; die Zeilen haben weniger.</translation>
        </message>
        <message>
            <source>Each GPU holds all weights and trains on a part of every batch.</source>
            <translation>Jede GPU hält alle Gewichte und trainiert mit einem Teil jedes Batches.</translation>
        </message>
        <message>
            <source>Each answer is compared with that of {name}, twice, in both orders. Replies that contradict each other count as a tie.</source>
            <translation>Jede Antwort wird zweimal mit der von {name} verglichen, in beiden Reihenfolgen. Widersprechen sich die Urteile, gilt das als unentschieden.</translation>
        </message>
        <message>
            <source>Each job runs in its own process, and this one stopped unexpectedly. Saved checkpoints and adapters are intact. The log of the run shows its last output.</source>
            <translation>Jeder Auftrag läuft in einem eigenen Prozess, und dieser wurde unerwartet beendet. Gespeicherte Checkpoints und Adapter sind unversehrt. Das Protokoll des Laufs zeigt seine letzten Ausgaben.</translation>
        </message>
        <message>
            <source>Each page has one. If something is missing, its tooltip says what. Press Ctrl+Enter to click it from anywhere on the page.</source>
            <translation>Jede Seite hat einen. Fehlt noch etwas, nennt es sein Tooltip. Mit Strg+Eingabe lösen Sie ihn von überall auf der Seite aus.</translation>
        </message>
        <message>
            <source>Each prompt has two answers ({columns}). We couldn't tell which one is preferred.</source>
            <translation>Zu jedem Prompt gibt es zwei Antworten ({columns}). Welche davon bevorzugt wird, ließ sich nicht erkennen.</translation>
        </message>
        <message numerus="yes">
            <source>Each query is compared with the texts of {n} other rows.</source>
            <translation>
                <numerusform>Jede Anfrage wird mit dem Text von {n} anderen Zeile verglichen.</numerusform>
                <numerusform>Jede Anfrage wird mit den Texten von {n} anderen Zeilen verglichen.</numerusform>
            </translation>
        </message>
        <message>
            <source>Each reward</source>
            <translation>Jede Belohnung</translation>
        </message>
        <message>
            <source>Each row is a single turn with its role. No row has both a question and its answer.</source>
            <translation>Jede Zeile ist ein einzelner Beitrag mit seiner Rolle. Keine Zeile enthält Frage und Antwort zusammen.</translation>
        </message>
        <message>
            <source>Each row is an answer of a batch job ({columns}). The prompts are in the file of requests.</source>
            <translation>Jede Zeile ist eine Antwort eines Batch-Auftrags ({columns}). Die Prompts stehen in der Datei mit den Anfragen.</translation>
        </message>
        <message>
            <source>Each row is one text in several languages ({columns}). We couldn't tell which is the answer.</source>
            <translation>Jede Zeile ist ein Text in mehreren Sprachen ({columns}). Welche davon die Antwort ist, ließ sich nicht erkennen.</translation>
        </message>
        <message>
            <source>Each row is one text in two languages. “{question}” is used as the question, and “{answer}” as the answer.</source>
            <translation>Jede Zeile ist ein Text in zwei Sprachen. „{question}“ wird als Frage verwendet, „{answer}“ als Antwort.</translation>
        </message>
        <message>
            <source>Each step of an answer has its own label (stepwise supervision, {columns}). This trains a reward model, which LoRA Studio doesn't support.</source>
            <translation>Jeder Schritt einer Antwort hat eine eigene Bewertung (Stepwise Supervision, {columns}). Damit trainiert man ein Reward-Modell; das unterstützt LoRA Studio nicht.</translation>
        </message>
        <message>
            <source>Earlier runs of the project appear here.</source>
            <translation>Frühere Läufe des Projekts erscheinen hier.</translation>
        </message>
        <message>
            <source>Early stopping needs eval loss, but no rows are used for validation.</source>
            <translation>Early Stopping braucht den Eval-Loss, aber es gibt keine Validierungszeilen.</translation>
        </message>
        <message>
            <source>Early stopping patience</source>
            <translation>Geduld bei Early Stopping</translation>
        </message>
        <message>
            <source>Edit and branch from here</source>
            <translation>Bearbeiten und hier verzweigen</translation>
        </message>
        <message>
            <source>Edit settings</source>
            <translation>Einstellungen ändern</translation>
        </message>
        <message numerus="yes">
            <source>Effective batch size: {n} rows.</source>
            <translation>
                <numerusform>Effektive Batch-Größe: {n} Zeile.</numerusform>
                <numerusform>Effektive Batch-Größe: {n} Zeilen.</numerusform>
            </translation>
        </message>
        <message>
            <source>Embedding training needs at least two rows in each optimizer step.</source>
            <translation>Embedding-Training braucht mindestens zwei Zeilen in jedem Optimierungsschritt.</translation>
        </message>
        <message>
            <source>Embeddings: can be merged and exported, but can't chat</source>
            <translation>Embeddings: kann zusammengeführt und exportiert werden, aber nicht chatten</translation>
        </message>
        <message>
            <source>Empty cache</source>
            <translation>Cache leeren</translation>
        </message>
        <message>
            <source>Empty the cache?</source>
            <translation>Cache leeren?</translation>
        </message>
        <message>
            <source>Empty the trash to free the disk space.</source>
            <translation>Leeren Sie den Papierkorb, um den Speicherplatz freizugeben.</translation>
        </message>
        <message>
            <source>Empty turns</source>
            <translation>Leere Beiträge</translation>
        </message>
        <message>
            <source>End tour</source>
            <translation>Tour beenden</translation>
        </message>
        <message>
            <source>End tour (Esc)</source>
            <translation>Tour beenden (Esc)</translation>
        </message>
        <message>
            <source>Ends training after this many evaluations without improvement. 0 turns it off.</source>
            <translation>Beendet das Training nach so vielen Auswertungen ohne Verbesserung. 0 schaltet es aus.</translation>
        </message>
        <message>
            <source>Ends training after this many optimizer steps. 0 trains for all epochs.</source>
            <translation>Beendet das Training nach so vielen Optimizer-Schritten. Bei 0 werden alle Epochen trainiert.</translation>
        </message>
        <message>
            <source>Engine</source>
            <translation>Engine</translation>
        </message>
        <message>
            <source>Engine setup and updates</source>
            <translation>Einrichtung und Updates der Engine</translation>
        </message>
        <message>
            <source>English</source>
            <translation>Englisch</translation>
        </message>
        <message>
            <source>Enter a name for the new adapter.</source>
            <translation>Geben Sie einen Namen für den neuen Adapter ein.</translation>
        </message>
        <message>
            <source>Enter a name.</source>
            <translation>Geben Sie einen Namen ein.</translation>
        </message>
        <message>
            <source>Enter a number such as number:0.01, or a percentage such as number:1%.</source>
            <translation>Geben Sie eine Zahl wie number:0.01 oder einen Prozentwert wie number:1% ein.</translation>
        </message>
        <message>
            <source>Enter a prompt (Enter to send, Shift+Enter for a new line)</source>
            <translation>Prompt eingeben (Eingabe sendet, Umschalt+Eingabe beginnt eine neue Zeile)</translation>
        </message>
        <message>
            <source>Enter a regular expression.</source>
            <translation>Geben Sie einen regulären Ausdruck ein.</translation>
        </message>
        <message>
            <source>Enter a text. Several lines are classified one by one.</source>
            <translation>Geben Sie einen Text ein. Mehrere Zeilen werden einzeln klassifiziert.</translation>
        </message>
        <message>
            <source>Enter a value above {low} and up to {high}.</source>
            <translation>Geben Sie einen Wert über {low} und bis {high} ein.</translation>
        </message>
        <message>
            <source>Enter a value from {low} to {high}.</source>
            <translation>Geben Sie einen Wert von {low} bis {high} ein.</translation>
        </message>
        <message>
            <source>Enter an address such as {example}.</source>
            <translation>Geben Sie eine Adresse wie {example} ein.</translation>
        </message>
        <message>
            <source>Enter at least one for each setting.</source>
            <translation>Geben Sie für jede Einstellung mindestens einen ein.</translation>
        </message>
        <message>
            <source>Enter at least one tag.</source>
            <translation>Geben Sie mindestens einen Tag ein.</translation>
        </message>
        <message>
            <source>Enter at least one value.</source>
            <translation>Geben Sie mindestens einen Wert ein.</translation>
        </message>
        <message>
            <source>Enter fewer epochs, or use steps as the interval unit.</source>
            <translation>Geben Sie weniger Epochen ein oder wählen Sie Schritte als Einheit der Intervalle.</translation>
        </message>
        <message>
            <source>Enter fewer values: at most {most} runs can be created at once.</source>
            <translation>Geben Sie weniger Werte ein: Höchstens {most} Läufe können auf einmal angelegt werden.</translation>
        </message>
        <message>
            <source>Enter only the folder, or folder=number, such as adapters/style=0.5.</source>
            <translation>Geben Sie nur den Ordner ein oder Ordner=Zahl, etwa adapters/style=0.5.</translation>
        </message>
        <message>
            <source>Enter the ID of a dataset on the Hugging Face Hub</source>
            <translation>ID eines Datensatzes auf dem Hugging Face Hub eingeben</translation>
        </message>
        <message>
            <source>Enter the address of the server.</source>
            <translation>Geben Sie die Adresse des Servers ein.</translation>
        </message>
        <message>
            <source>Enter the address without a password.</source>
            <translation>Geben Sie die Adresse ohne Passwort ein.</translation>
        </message>
        <message>
            <source>Enter the name of a function.</source>
            <translation>Geben Sie den Namen einer Funktion ein.</translation>
        </message>
        <message>
            <source>Enter the name of the environment variable that has the API key, such as {example}.</source>
            <translation>Geben Sie den Namen der Umgebungsvariable mit dem API-Schlüssel ein, zum Beispiel {example}.</translation>
        </message>
        <message>
            <source>Enter the name of the judge model.</source>
            <translation>Geben Sie den Namen des Bewertungsmodells ein.</translation>
        </message>
        <message>
            <source>Enter the name of the model on the server.</source>
            <translation>Geben Sie den Namen des Modells auf dem Server ein.</translation>
        </message>
        <message>
            <source>Enter the path of a JSON schema after json_schema:, or the schema itself.</source>
            <translation>Geben Sie nach json_schema: den Pfad eines JSON-Schemas oder das Schema selbst ein.</translation>
        </message>
        <message>
            <source>Enter the path of a Python 3.11, 3.12, or 3.13 executable.</source>
            <translation>Geben Sie den Pfad zu einem Python 3.11, 3.12 oder 3.13 an.</translation>
        </message>
        <message>
            <source>Enter the path of a Python 3.11, 3.12, or 3.13 executable. Full details are in the log.</source>
            <translation>Geben Sie den Pfad zu einem Python 3.11, 3.12 oder 3.13 an. Alle Einzelheiten stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Enter the setting as step.field.</source>
            <translation>schritt.feld eingeben.</translation>
        </message>
        <message>
            <source>Enter the values to try.</source>
            <translation>Geben Sie die Werte ein, die ausprobiert werden sollen.</translation>
        </message>
        <message>
            <source>Enter true or false.</source>
            <translation>Geben Sie true oder false ein.</translation>
        </message>
        <message>
            <source>Environment variable with the API key (optional)</source>
            <translation>Umgebungsvariable mit dem API-Schlüssel (optional)</translation>
        </message>
        <message>
            <source>Environment variable with the key of the server. Empty if it needs none.</source>
            <translation>Umgebungsvariable mit dem Schlüssel des Servers. Leer, wenn er keinen braucht.</translation>
        </message>
        <message>
            <source>Epoch</source>
            <translation>Epoche</translation>
        </message>
        <message>
            <source>Epochs</source>
            <translation>Epochen</translation>
        </message>
        <message>
            <source>Equal JSON fields</source>
            <translation>Gleiche JSON-Felder</translation>
        </message>
        <message>
            <source>Equal to the reference, apart from case, spaces, quotes, and final punctuation.</source>
            <translation>Gleich der Referenz, abgesehen von Groß- und Kleinschreibung, Leerzeichen, Anführungszeichen und Satzzeichen am Ende.</translation>
        </message>
        <message>
            <source>Estimated from the model's tensor sizes</source>
            <translation>Aus den Tensorgrößen des Modells geschätzt</translation>
        </message>
        <message>
            <source>Estimated training time: {time}.</source>
            <translation>Geschätzte Trainingsdauer: {time}.</translation>
        </message>
        <message>
            <source>Estimating file sizes</source>
            <translation>Dateigrößen werden geschätzt</translation>
        </message>
        <message>
            <source>Estonian</source>
            <translation>Estnisch</translation>
        </message>
        <message>
            <source>Eval loss</source>
            <translation>Eval-Loss</translation>
        </message>
        <message>
            <source>Eval loss fell {first:loss} → {last:loss} and leveled off.</source>
            <translation>Der Eval-Loss fiel {first:loss} → {last:loss} und flachte dann ab.</translation>
        </message>
        <message>
            <source>Eval loss fell {first:loss} → {last:loss} and was still falling.</source>
            <translation>Der Eval-Loss fiel {first:loss} → {last:loss} und fiel zuletzt noch immer.</translation>
        </message>
        <message>
            <source>Eval loss fell {first:loss} → {last:loss}.</source>
            <translation>Der Eval-Loss fiel {first:loss} → {last:loss}.</translation>
        </message>
        <message>
            <source>Eval loss hardly changed ({first:loss} → {last:loss}).</source>
            <translation>Der Eval-Loss hat sich kaum verändert ({first:loss} → {last:loss}).</translation>
        </message>
        <message>
            <source>Eval loss was lowest at step {step} ({best:loss}) and has since risen to {last:loss}.</source>
            <translation>Der Eval-Loss war bei Schritt {step} am niedrigsten ({best:loss}) und ist seitdem auf {last:loss} gestiegen.</translation>
        </message>
        <message>
            <source>Eval reward</source>
            <translation>Eval-Belohnung</translation>
        </message>
        <message>
            <source>Eval {metric}</source>
            <translation>Eval {metric}</translation>
        </message>
        <message>
            <source>Evaluate</source>
            <translation>Auswerten</translation>
        </message>
        <message>
            <source>Evaluate every</source>
            <translation>Evaluieren alle</translation>
        </message>
        <message>
            <source>Evaluating</source>
            <translation>Auswertung</translation>
        </message>
        <message>
            <source>Evaluating every {every} epochs never happens in {epochs} epochs.</source>
            <translation>Eine Evaluation alle {every} Epochen kommt bei {epochs} Epochen nie vor.</translation>
        </message>
        <message>
            <source>Evaluation</source>
            <translation>Auswertung</translation>
        </message>
        <message>
            <source>Evaluation after step {step}: loss {loss:loss}, accuracy {accuracy:percent}, macro F1 {f1:percent}.</source>
            <translation>Auswertung nach Schritt {step}: Verlust {loss:loss}, Genauigkeit {accuracy:percent}, Makro-F1 {f1:percent}.</translation>
        </message>
        <message>
            <source>Evaluation after step {step}: loss {loss:loss}, {found}.</source>
            <translation>Auswertung nach Schritt {step}: Loss {loss:loss}, {found}.</translation>
        </message>
        <message>
            <source>Evaluation and checkpoints</source>
            <translation>Evaluation und Checkpoints</translation>
        </message>
        <message>
            <source>Evaluation of a model on a server</source>
            <translation>Auswertung eines Modells auf einem Server</translation>
        </message>
        <message>
            <source>Evaluation step</source>
            <translation>Evaluationsschritt</translation>
        </message>
        <message>
            <source>Even 4-bit weights and the smallest settings don't fit. Choose a smaller model.</source>
            <translation>Selbst 4-Bit-Gewichte und die kleinsten Einstellungen passen nicht. Wählen Sie ein kleineres Modell.</translation>
        </message>
        <message>
            <source>Events of the latest run, without your texts.</source>
            <translation>Ereignisse des letzten Laufs, ohne Ihre Texte.</translation>
        </message>
        <message>
            <source>Every epoch</source>
            <translation>Jede Epoche</translation>
        </message>
        <message>
            <source>Every label counts the same, however many rows have it.</source>
            <translation>Jedes Label zählt gleich viel, egal, wie viele Zeilen es haben.</translation>
        </message>
        <message>
            <source>Every row counts the same.</source>
            <translation>Jede Zeile zählt gleich viel.</translation>
        </message>
        <message>
            <source>Every row has the label “{label}”, so there is nothing to tell apart.</source>
            <translation>Jede Zeile hat das Label „{label}“, es gibt also nichts zu unterscheiden.</translation>
        </message>
        <message>
            <source>Every time you train, a run stores the settings, metrics, checkpoints, and adapter. Compare all runs of a project here.</source>
            <translation>Bei jedem Training speichert ein Lauf Einstellungen, Metriken, Checkpoints und Adapter. Hier vergleichen Sie alle Läufe eines Projekts.</translation>
        </message>
        <message>
            <source>Every training run keeps its settings and curves, so you can compare runs. In the Playground, you chat with the base model and the fine-tuned model side by side.</source>
            <translation>Jeder Trainingslauf behält seine Einstellungen und Kurven, sodass Sie Läufe vergleichen können. Im Playground chatten Sie nebeneinander mit dem Basismodell und dem trainierten Modell.</translation>
        </message>
        <message>
            <source>Everything</source>
            <translation>Alles</translation>
        </message>
        <message>
            <source>Everything saved before is intact. Start the step again.</source>
            <translation>Alles zuvor Gespeicherte ist unversehrt. Starten Sie den Schritt erneut.</translation>
        </message>
        <message>
            <source>Everything saved before is kept. Resume training to continue from the last checkpoint. If it happens again, restart the computer and update the GPU driver. Overheating and a weak power supply are other causes.</source>
            <translation>Alles zuvor Gespeicherte bleibt erhalten. Setzen Sie das Training fort, um beim letzten Checkpoint weiterzumachen. Wenn es wieder passiert, starten Sie den Computer neu und aktualisieren Sie den GPU-Treiber. Weitere Ursachen sind Überhitzung und ein zu schwaches Netzteil.</translation>
        </message>
        <message>
            <source>Everything that was saved is intact. Close other programs, or reduce memory use with a smaller micro-batch, a smaller maximum sequence length, gradient checkpointing, or 4-bit precision.</source>
            <translation>Alles Gespeicherte ist unversehrt. Schließen Sie andere Programme oder senken Sie den Speicherbedarf: mit einem kleineren Mikro-Batch, einer kleineren maximalen Sequenzlänge, Gradient Checkpointing oder 4-Bit-Genauigkeit.</translation>
        </message>
        <message>
            <source>Everything that was saved is intact. Resume training: it continues from the last checkpoint.</source>
            <translation>Alles Gespeicherte ist unversehrt. Setzen Sie das Training fort: Es läuft ab dem letzten Checkpoint weiter.</translation>
        </message>
        <message>
            <source>Everything that was saved is intact. Start the step again.</source>
            <translation>Alles Gespeicherte ist unversehrt. Starten Sie den Schritt erneut.</translation>
        </message>
        <message>
            <source>Everywhere</source>
            <translation>Überall</translation>
        </message>
        <message>
            <source>Exact match</source>
            <translation>Exakte Übereinstimmung</translation>
        </message>
        <message>
            <source>Exact text</source>
            <translation>Exakter Text</translation>
        </message>
        <message>
            <source>Examples before each item (shots)</source>
            <translation>Beispiele vor jeder Aufgabe (Shots)</translation>
        </message>
        <message>
            <source>Experiment trackers</source>
            <translation>Experiment-Tracker</translation>
        </message>
        <message>
            <source>Exponent of the polynomial schedule. 1 is linear; higher values decay faster at first.</source>
            <translation>Exponent des polynomiellen Verlaufs. 1 ist linear; höhere Werte fallen anfangs schneller.</translation>
        </message>
        <message>
            <source>Export</source>
            <translation>Export</translation>
        </message>
        <message>
            <source>Export again</source>
            <translation>Erneut exportieren</translation>
        </message>
        <message>
            <source>Export again or run the self-test again, then create the model.</source>
            <translation>Exportieren Sie erneut oder führen Sie den Selbsttest erneut aus, und erstellen Sie dann das Modell.</translation>
        </message>
        <message>
            <source>Export again with the built-in llama.cpp. Your own version changes or drops the template.</source>
            <translation>Exportieren Sie erneut mit dem mitgelieferten llama.cpp. Ihre eigene Version ändert die Vorlage oder lässt sie weg.</translation>
        </message>
        <message>
            <source>Export and replace</source>
            <translation>Exportieren und ersetzen</translation>
        </message>
        <message>
            <source>Export as CSV…</source>
            <translation>Als CSV exportieren…</translation>
        </message>
        <message>
            <source>Export canceled</source>
            <translation>Export abgebrochen</translation>
        </message>
        <message>
            <source>Export evaluation</source>
            <translation>Auswertung exportieren</translation>
        </message>
        <message>
            <source>Export fewer chats or a shorter time at once, and add each file.</source>
            <translation>Exportieren Sie weniger Chats oder einen kürzeren Zeitraum auf einmal und fügen Sie jede Datei hinzu.</translation>
        </message>
        <message>
            <source>Export first.</source>
            <translation>Exportieren Sie zuerst.</translation>
        </message>
        <message>
            <source>Export for cluster…</source>
            <translation>Für Cluster exportieren…</translation>
        </message>
        <message>
            <source>Export is running.</source>
            <translation>Der Export läuft.</translation>
        </message>
        <message>
            <source>Export it again. If you have changed the file, undo that.</source>
            <translation>Exportieren Sie sie noch einmal. Falls Sie die Datei geändert haben, machen Sie das rückgängig.</translation>
        </message>
        <message>
            <source>Export it first (`lora-studio export RUN`).</source>
            <translation>Exportieren Sie ihn zuerst (`lora-studio export RUN`).</translation>
        </message>
        <message>
            <source>Export its text as .txt or .md.</source>
            <translation>Exportieren Sie den Text als .txt oder .md.</translation>
        </message>
        <message>
            <source>Export reads the merged model of a run and writes GGUF files. You can repeat it as often as you like; the trained adapter doesn't change.</source>
            <translation>Der Export liest das zusammengeführte Modell eines Laufs und schreibt GGUF-Dateien. Er lässt sich beliebig oft wiederholen; der trainierte Adapter ändert sich nicht.</translation>
        </message>
        <message>
            <source>Export runs as CSV</source>
            <translation>Läufe als CSV exportieren</translation>
        </message>
        <message>
            <source>Export the base model</source>
            <translation>Basismodell exportieren</translation>
        </message>
        <message>
            <source>Export the merged model as it is</source>
            <translation>Vorhandenes zusammengeführtes Modell exportieren</translation>
        </message>
        <message>
            <source>Export the model again. If that doesn't help, free some memory or update the engine. llama.cpp's message is in the log.</source>
            <translation>Exportieren Sie das Modell noch einmal. Hilft das nicht, geben Sie Arbeitsspeicher frei oder aktualisieren Sie die Engine. Die Meldung von llama.cpp steht im Protokoll.</translation>
        </message>
        <message>
            <source>Export the run again.</source>
            <translation>Exportieren Sie den Lauf erneut.</translation>
        </message>
        <message>
            <source>Export the run first, or choose another file.</source>
            <translation>Exportieren Sie den Lauf zuerst, oder wählen Sie eine andere Datei.</translation>
        </message>
        <message>
            <source>Export the run first.</source>
            <translation>Exportieren Sie den Lauf zuerst.</translation>
        </message>
        <message>
            <source>Export the run to a GGUF file, which contains the merged model, and use that.</source>
            <translation>Exportieren Sie den Lauf in eine GGUF-Datei, die das zusammengeführte Modell enthält, und verwenden Sie diese.</translation>
        </message>
        <message>
            <source>Export the run, and serve its GGUF file.</source>
            <translation>Exportieren Sie den Lauf und stellen Sie seine GGUF-Datei bereit.</translation>
        </message>
        <message>
            <source>Export to Ollama first, or choose another model.</source>
            <translation>Exportieren Sie zuerst nach Ollama, oder wählen Sie ein anderes Modell.</translation>
        </message>
        <message>
            <source>Export to Ollama first, or choose one of these: {known}.</source>
            <translation>Exportieren Sie zuerst nach Ollama, oder wählen Sie eines von diesen: {known}.</translation>
        </message>
        <message>
            <source>Export votes</source>
            <translation>Stimmen exportieren</translation>
        </message>
        <message>
            <source>Export whole channels, for example with DiscordChatExporter as JSON, and choose those files.</source>
            <translation>Exportieren Sie ganze Kanäle, zum Beispiel mit DiscordChatExporter als JSON, und wählen Sie diese Dateien.</translation>
        </message>
        <message>
            <source>Export without merging</source>
            <translation>Ohne Zusammenführen exportieren</translation>
        </message>
        <message>
            <source>Export writes the files and asks the trained model and the exported one the same questions. You see how closely their answers agree.</source>
            <translation>Der Export schreibt die Dateien und stellt dem trainierten und dem exportierten Modell dieselben Fragen. Sie sehen, wie genau die Antworten übereinstimmen.</translation>
        </message>
        <message>
            <source>Exported</source>
            <translation>Exportiert</translation>
        </message>
        <message>
            <source>Exported to {file}.</source>
            <translation>Exportiert nach {file}.</translation>
        </message>
        <message>
            <source>Exporting</source>
            <translation>Export</translation>
        </message>
        <message>
            <source>Exporting directly from the base model and adapter, without a merged copy.</source>
            <translation>Export direkt aus Basismodell und Adapter, ohne zusammengeführte Kopie.</translation>
        </message>
        <message>
            <source>Exporting…</source>
            <translation>Wird exportiert…</translation>
        </message>
        <message>
            <source>Exports the selected runs, or all listed runs, with every setting that differs</source>
            <translation>Exportiert die ausgewählten oder alle aufgelisteten Läufe mit jeder abweichenden Einstellung</translation>
        </message>
        <message>
            <source>Export…</source>
            <translation>Exportieren…</translation>
        </message>
        <message>
            <source>Extremely long rows</source>
            <translation>Extrem lange Zeilen</translation>
        </message>
        <message>
            <source>FP4</source>
            <translation>FP4</translation>
        </message>
        <message>
            <source>Factor before clipping. 0.1 turns grades from 0 to 10 into values from 0 to 1.</source>
            <translation>Faktor vor dem Begrenzen. 0,1 macht aus Noten von 0 bis 10 Werte von 0 bis 1.</translation>
        </message>
        <message>
            <source>Factor of cosine similarities in the loss, which is 1 / temperature. 20 is common (a temperature of 0.05); higher values concentrate on the most similar texts.</source>
            <translation>Faktor der Kosinus-Ähnlichkeiten im Loss, also 1 / Temperatur. Üblich ist 20 (Temperatur 0,05); höhere Werte konzentrieren sich auf die ähnlichsten Texte.</translation>
        </message>
        <message>
            <source>Factor of this reward in the total. A negative weight penalizes.</source>
            <translation>Faktor dieser Belohnung in der Summe. Ein negatives Gewicht bestraft.</translation>
        </message>
        <message>
            <source>Failed</source>
            <translation>Fehlgeschlagen</translation>
        </message>
        <message>
            <source>Failed the self-test.</source>
            <translation>Selbsttest nicht bestanden.</translation>
        </message>
        <message>
            <source>Feature</source>
            <translation>Funktion</translation>
        </message>
        <message>
            <source>File</source>
            <translation>Datei</translation>
        </message>
        <message>
            <source>File or folder not found. Remove it here, or put it back.</source>
            <translation>Datei oder Ordner nicht gefunden. Entfernen Sie die Quelle hier, oder legen Sie sie wieder an ihren Ort.</translation>
        </message>
        <message>
            <source>File or folder path, or org/name on the Hub</source>
            <translation>Pfad zu Datei oder Ordner, oder org/name auf dem Hub</translation>
        </message>
        <message>
            <source>File size</source>
            <translation>Dateigröße</translation>
        </message>
        <message>
            <source>File with a JSON schema. Empty for any valid JSON.</source>
            <translation>Datei mit einem JSON-Schema. Leer für jedes gültige JSON.</translation>
        </message>
        <message>
            <source>File with the function.</source>
            <translation>Datei mit der Funktion.</translation>
        </message>
        <message>
            <source>Files are created directly from the base model and the adapter, without a merged copy. If you want to keep or upload a merged model, merge first.</source>
            <translation>Die Dateien entstehen direkt aus Basismodell und Adapter, ohne zusammengeführte Kopie. Wenn Sie ein zusammengeführtes Modell behalten oder hochladen möchten, führen Sie zuerst zusammen.</translation>
        </message>
        <message>
            <source>Files are created from the base model and the adapter, because rounding changed the merged model.</source>
            <translation>Die Dateien entstehen aus Basismodell und Adapter, weil das Runden das zusammengeführte Modell verändert hat.</translation>
        </message>
        <message>
            <source>Files left out ({reason}): {names} and {more} more.</source>
            <translation>Ausgelassene Dateien ({reason}): {names} und {more} weitere.</translation>
        </message>
        <message>
            <source>Files left out ({reason}): {names}.</source>
            <translation>Ausgelassene Dateien ({reason}): {names}.</translation>
        </message>
        <message>
            <source>Files outside the project that would be read</source>
            <translation>Dateien außerhalb des Projekts, die gelesen würden</translation>
        </message>
        <message>
            <source>Files to include</source>
            <translation>Enthaltene Dateien</translation>
        </message>
        <message>
            <source>Files to upload</source>
            <translation>Hochzuladende Dateien</translation>
        </message>
        <message>
            <source>Files, folders of files, or Hub datasets to train on, mixed by weight.</source>
            <translation>Dateien, Ordner mit Dateien oder Hub-Datensätze, mit denen trainiert wird, gemischt nach Gewicht.</translation>
        </message>
        <message>
            <source>Files: JSON, JSONL, CSV, TSV, Parquet, or text, optionally compressed. Formats: Alpaca, ShareGPT, messages, prompt and completion, question and answer, preference pairs, labeled answers, or plain text.</source>
            <translation>Dateien: JSON, JSONL, CSV, TSV, Parquet oder Text, auch komprimiert. Formate: Alpaca, ShareGPT, Messages, Prompt und Antwort, Frage und Antwort, Präferenzpaare, bewertete Antworten oder reiner Text.</translation>
        </message>
        <message>
            <source>Files…</source>
            <translation>Dateien…</translation>
        </message>
        <message>
            <source>File…</source>
            <translation>Datei…</translation>
        </message>
        <message>
            <source>Filter by state</source>
            <translation>Nach Status filtern</translation>
        </message>
        <message>
            <source>Filter rows</source>
            <translation>Zeilen filtern</translation>
        </message>
        <message>
            <source>Final learning rate as a share of the peak learning rate.</source>
            <translation>Lernrate am Ende als Anteil der höchsten Lernrate.</translation>
        </message>
        <message>
            <source>Findings</source>
            <translation>Befunde</translation>
        </message>
        <message>
            <source>Findings ({count})</source>
            <translation>Befunde ({count})</translation>
        </message>
        <message>
            <source>Findings ({open} of {count} open)</source>
            <translation>Befunde ({open} von {count} offen)</translation>
        </message>
        <message>
            <source>Finds the best approximation of the weighted sum at the rank you choose (SVD).</source>
            <translation>Bestimmt die beste Näherung der gewichteten Summe mit dem gewählten Rang (SVD).</translation>
        </message>
        <message>
            <source>Fine-tune a language model and run exactly what you trained</source>
            <translation>Ein Sprachmodell feinabstimmen und genau das ausführen, was trainiert wurde</translation>
        </message>
        <message>
            <source>Fine-tune a language model on your own examples, then run exactly what you trained in Ollama.</source>
            <translation>Trainieren Sie ein Sprachmodell mit Ihren eigenen Beispielen nach und führen Sie genau das Ergebnis in Ollama aus.</translation>
        </message>
        <message>
            <source>Fine-tune a language model with LoRA and run it in Ollama</source>
            <translation>Ein Sprachmodell mit LoRA feinabstimmen und in Ollama ausführen</translation>
        </message>
        <message>
            <source>Fine-tuned</source>
            <translation>Trainiert</translation>
        </message>
        <message>
            <source>Finish copying first?</source>
            <translation>Erst zu Ende kopieren?</translation>
        </message>
        <message>
            <source>Finish its training, or stop it and keep the adapter.</source>
            <translation>Schließen Sie das Training ab oder beenden Sie es und behalten Sie den Adapter.</translation>
        </message>
        <message>
            <source>Finishes the current step, saves a checkpoint, and frees the memory</source>
            <translation>Beendet den aktuellen Schritt, speichert einen Checkpoint und gibt den Speicher frei</translation>
        </message>
        <message>
            <source>Finnish</source>
            <translation>Finnisch</translation>
        </message>
        <message>
            <source>First setting</source>
            <translation>Erste Einstellung</translation>
        </message>
        <message>
            <source>Fit longest row ({length})</source>
            <translation>An längste Zeile anpassen ({length})</translation>
        </message>
        <message>
            <source>Fits</source>
            <translation>Passt</translation>
        </message>
        <message>
            <source>Fits this device</source>
            <translation>Passt auf dieses Gerät</translation>
        </message>
        <message>
            <source>Fix</source>
            <translation>Beheben</translation>
        </message>
        <message>
            <source>Fix the beginning of the file, or rename it with the right extension: .csv or .txt.</source>
            <translation>Korrigieren Sie den Anfang der Datei oder geben Sie ihr die passende Endung: .csv oder .txt.</translation>
        </message>
        <message>
            <source>Fix the errors above to see the number of steps.</source>
            <translation>Beheben Sie die Fehler oben, um die Anzahl der Schritte zu sehen.</translation>
        </message>
        <message>
            <source>Fix the values below to see the number of trainable parameters.</source>
            <translation>Korrigieren Sie die Werte unten, um die Zahl der trainierbaren Parameter zu sehen.</translation>
        </message>
        <message>
            <source>Fix this line in a text editor, or restore the file from a backup. Then open the project again.</source>
            <translation>Korrigieren Sie diese Zeile in einem Texteditor, oder stellen Sie die Datei aus einer Sicherung wieder her. Öffnen Sie dann das Projekt erneut.</translation>
        </message>
        <message>
            <source>Fix: {title}</source>
            <translation>Beheben: {title}</translation>
        </message>
        <message>
            <source>Fixed: better than</source>
            <translation>Verbessert gegenüber</translation>
        </message>
        <message>
            <source>Fixed: {fix}</source>
            <translation>Behoben: {fix}</translation>
        </message>
        <message>
            <source>Folder</source>
            <translation>Ordner</translation>
        </message>
        <message>
            <source>Folder for new projects</source>
            <translation>Ordner für neue Projekte</translation>
        </message>
        <message>
            <source>Folder for the cluster</source>
            <translation>Ordner für den Cluster</translation>
        </message>
        <message>
            <source>Folder for the project</source>
            <translation>Ordner für das Projekt</translation>
        </message>
        <message>
            <source>Folder of a LoRA adapter whose weights training starts from. Its rank, alpha, and target modules are used. Preference training uses it as the reference model instead of the base model.</source>
            <translation>Ordner eines LoRA-Adapters, mit dessen Gewichten das Training beginnt. Rang, Alpha und Zielmodule werden von ihm übernommen. Das Präferenztraining verwendet ihn statt des Basismodells als Referenzmodell.</translation>
        </message>
        <message>
            <source>Folder of the model to merge into if it differs from the one you trained on, such as the 16-bit original of a quantized model. Leave empty for the model of this project.</source>
            <translation>Ordner des Modells, in das zusammengeführt wird, wenn es nicht das trainierte ist, etwa das 16-Bit-Original eines quantisierten Modells. Leer lassen für das Modell dieses Projekts.</translation>
        </message>
        <message>
            <source>Folder or Hub ID of a larger model with the same tokenizer. Training then also learns its probabilities of each token (distillation). Leave it empty to train without a teacher.</source>
            <translation>Ordner oder Hub-ID eines größeren Modells mit demselben Tokenizer. Das Training lernt dann auch dessen Wahrscheinlichkeiten für jedes Token (Destillation). Leer lassen, um ohne Lehrer zu trainieren.</translation>
        </message>
        <message>
            <source>Folder, .gguf file, or org/name</source>
            <translation>Ordner, .gguf-Datei oder org/name</translation>
        </message>
        <message>
            <source>Folders</source>
            <translation>Ordner</translation>
        </message>
        <message>
            <source>Folders of other adapters for the same base model. They are merged after this one, each with its weight: adapters/style=0.5.</source>
            <translation>Ordner weiterer Adapter für dasselbe Basismodell. Sie werden nach diesem zusammengeführt, jeder mit seinem Gewicht: adapters/style=0.5.</translation>
        </message>
        <message>
            <source>Folders outside the project that would be written to</source>
            <translation>Ordner außerhalb des Projekts, in die geschrieben würde</translation>
        </message>
        <message>
            <source>Folder…</source>
            <translation>Ordner…</translation>
        </message>
        <message>
            <source>Follow the advice of that test, then export again. The files and the Modelfile are complete.</source>
            <translation>Folgen Sie dem Rat dieses Tests und exportieren Sie dann erneut. Die Dateien und das Modelfile sind vollständig.</translation>
        </message>
        <message>
            <source>For a better merged model, choose the original 16-bit model as the base.</source>
            <translation>Mit dem ursprünglichen 16-Bit-Modell als Basis wird das zusammengeführte Modell besser.</translation>
        </message>
        <message>
            <source>For every quantization</source>
            <translation>Für jede Quantisierung</translation>
        </message>
        <message>
            <source>For example http://127.0.0.1:11434. Leave empty to use OLLAMA_HOST, or this computer if it isn't set.</source>
            <translation>Zum Beispiel http://127.0.0.1:11434. Leer lassen für OLLAMA_HOST oder, wenn das nicht gesetzt ist, diesen Computer.</translation>
        </message>
        <message>
            <source>For preference training: how strongly DPO and KTO (Ethayarajh et al. 2024) keep the model close to the reference model, and the weight of the preference term in ORPO. 0.1 is common.</source>
            <translation>Beim Präferenztraining: wie stark DPO und KTO (Ethayarajh et al. 2024) das Modell in der Nähe des Referenzmodells halten, und das Gewicht des Präferenzterms bei ORPO. 0,1 ist üblich.</translation>
        </message>
        <message>
            <source>For the next run:</source>
            <translation>Für den nächsten Lauf:</translation>
        </message>
        <message>
            <source>For trying out; trains without a GPU. English.</source>
            <translation>Zum Ausprobieren, auch ohne GPU. Englisch.</translation>
        </message>
        <message>
            <source>Forgets less: rank 10 on the MLP layers</source>
            <translation>Vergisst weniger: Rang 10 in den MLP-Schichten</translation>
        </message>
        <message>
            <source>Forgetting</source>
            <translation>Vergessen</translation>
        </message>
        <message>
            <source>Forgot: {losses}</source>
            <translation>Vergessen: {losses}</translation>
        </message>
        <message>
            <source>Format</source>
            <translation>Format</translation>
        </message>
        <message>
            <source>Format of this source</source>
            <translation>Format dieser Quelle</translation>
        </message>
        <message>
            <source>Free space…</source>
            <translation>Platz schaffen…</translation>
        </message>
        <message>
            <source>Free up some space on the disk of the cache folder, or store fewer teacher tokens per position.</source>
            <translation>Schaffen Sie Platz auf dem Datenträger des Cache-Ordners oder speichern Sie weniger Tokens des Lehrers pro Position.</translation>
        </message>
        <message>
            <source>Free up some space or move the project to a larger disk, then resume: training continues from step {step:d}.</source>
            <translation>Geben Sie Speicherplatz frei oder verschieben Sie das Projekt auf einen größeren Datenträger und setzen Sie dann fort: Das Training läuft ab Schritt {step:d} weiter.</translation>
        </message>
        <message>
            <source>Free up some space or move the project to a larger disk, then start this step again.</source>
            <translation>Geben Sie Speicherplatz frei oder verschieben Sie das Projekt auf einen größeren Datenträger und starten Sie diesen Schritt dann neu.</translation>
        </message>
        <message>
            <source>Free up some space or move the project to a larger disk, then start this step again. Files that were complete are unchanged.</source>
            <translation>Geben Sie Speicherplatz frei oder verschieben Sie das Projekt auf einen größeren Datenträger und starten Sie diesen Schritt dann neu. Fertige Dateien sind unverändert.</translation>
        </message>
        <message>
            <source>Free up some space there, or choose a folder on another disk.</source>
            <translation>Geben Sie dort Speicherplatz frei oder wählen Sie einen Ordner auf einer anderen Festplatte.</translation>
        </message>
        <message>
            <source>Free up some space, or choose a folder on another disk, then start the setup again. Completed downloads are kept.</source>
            <translation>Geben Sie Speicherplatz frei oder wählen Sie einen Ordner auf einer anderen Festplatte und starten Sie die Einrichtung erneut. Fertige Downloads bleiben erhalten.</translation>
        </message>
        <message>
            <source>Free up some space, or choose a folder on another disk.</source>
            <translation>Geben Sie Speicherplatz frei oder wählen Sie einen Ordner auf einer anderen Festplatte.</translation>
        </message>
        <message>
            <source>Free up some space, or set HF_HOME to a folder on a larger disk and restart LoRA Studio. Then download the model again.</source>
            <translation>Geben Sie Speicherplatz frei oder setzen Sie HF_HOME auf einen Ordner auf einem größeren Datenträger und starten Sie LoRA Studio neu. Laden Sie das Modell dann noch einmal herunter.</translation>
        </message>
        <message>
            <source>French</source>
            <translation>Französisch</translation>
        </message>
        <message>
            <source>From anywhere</source>
            <translation>Von überall</translation>
        </message>
        <message>
            <source>From the Hub</source>
            <translation>Vom Hub</translation>
        </message>
        <message>
            <source>From the base model to Ollama. Each step shows its state: to do, ready, a problem, or running. Visit them in any order.</source>
            <translation>Vom Basismodell zu Ollama. Jeder Schritt zeigt seinen Stand: zu tun, bereit, ein Problem oder läuft. Die Reihenfolge ist frei.</translation>
        </message>
        <message>
            <source>Full precision, fastest</source>
            <translation>Volle Genauigkeit, am schnellsten</translation>
        </message>
        <message>
            <source>Function</source>
            <translation>Funktion</translation>
        </message>
        <message>
            <source>GB</source>
            <translation>GB</translation>
        </message>
        <message>
            <source>GGUF</source>
            <translation>GGUF</translation>
        </message>
        <message>
            <source>GGUF file</source>
            <translation>GGUF-Datei</translation>
        </message>
        <message>
            <source>GGUF files</source>
            <translation>GGUF-Dateien</translation>
        </message>
        <message>
            <source>GGUF files (*.gguf)</source>
            <translation>GGUF-Dateien (*.gguf)</translation>
        </message>
        <message>
            <source>GGUF files to write. Q4_K_M is the usual balance of size and quality; F16 is practically lossless. If you choose several, Ollama gets the one you chose first.</source>
            <translation>GGUF-Dateien, die geschrieben werden. Q4_K_M ist der übliche Kompromiss aus Größe und Qualität; F16 ist praktisch verlustfrei. Wenn Sie mehrere wählen, erhält Ollama die zuerst gewählte.</translation>
        </message>
        <message>
            <source>GGUF files with the architecture {architecture} can't be unpacked for training.</source>
            <translation>GGUF-Dateien mit der Architektur {architecture} lassen sich nicht zum Trainieren entpacken.</translation>
        </message>
        <message>
            <source>GGUF file…</source>
            <translation>GGUF-Datei…</translation>
        </message>
        <message>
            <source>GGUF models (*.gguf);;All files (*)</source>
            <translation>GGUF-Modelle (*.gguf);;Alle Dateien (*)</translation>
        </message>
        <message>
            <source>GGUF version {version:d} isn't supported</source>
            <translation>die GGUF-Version {version:d} wird nicht unterstützt</translation>
        </message>
        <message>
            <source>GPU (°C)</source>
            <translation>GPU (°C)</translation>
        </message>
        <message>
            <source>GPU memory in use: {programs}.</source>
            <translation>Belegter GPU-Speicher: {programs}.</translation>
        </message>
        <message>
            <source>GPU temperature</source>
            <translation>GPU-Temperatur</translation>
        </message>
        <message>
            <source>GPU utilization</source>
            <translation>GPU-Auslastung</translation>
        </message>
        <message>
            <source>GPU utilization (%)</source>
            <translation>GPU-Auslastung (%)</translation>
        </message>
        <message>
            <source>GRPO</source>
            <translation>GRPO</translation>
        </message>
        <message>
            <source>GSPO</source>
            <translation>GSPO</translation>
        </message>
        <message>
            <source>Gain and forgetting</source>
            <translation>Gewinn und Vergessen</translation>
        </message>
        <message>
            <source>Gain over forgetting</source>
            <translation>Gewinn gegen Vergessen</translation>
        </message>
        <message>
            <source>Gated and private models need an access token. A token with read access is enough. LoRA Studio saves it only in the standard Hugging Face token file on this computer, which other tools also read.</source>
            <translation>Für zugangsbeschränkte und private Modelle brauchen Sie ein Zugriffstoken. Lesezugriff genügt. LoRA Studio speichert es nur in der üblichen Token-Datei von Hugging Face auf diesem Computer, die auch andere Programme lesen.</translation>
        </message>
        <message>
            <source>Gaussian</source>
            <translation>Gauß-verteilt</translation>
        </message>
        <message>
            <source>Gemini activities</source>
            <translation>Gemini-Aktivitäten</translation>
        </message>
        <message>
            <source>Gemma</source>
            <translation>Gemma</translation>
        </message>
        <message>
            <source>Generating answers</source>
            <translation>Antworten werden erzeugt</translation>
        </message>
        <message>
            <source>Generating the model card…</source>
            <translation>Die Modellkarte wird erstellt…</translation>
        </message>
        <message>
            <source>Generating…</source>
            <translation>Generiert…</translation>
        </message>
        <message>
            <source>German</source>
            <translation>Deutsch</translation>
        </message>
        <message>
            <source>Give one of them another name.</source>
            <translation>Geben Sie einer von ihnen einen anderen Namen.</translation>
        </message>
        <message>
            <source>Give the program, or the folder of a llama.cpp build or release.</source>
            <translation>Geben Sie das Programm an oder den Ordner eines Builds oder Releases von llama.cpp.</translation>
        </message>
        <message>
            <source>Give yourself access to it, or choose another folder.</source>
            <translation>Verschaffen Sie sich Zugriff darauf oder wählen Sie einen anderen Ordner.</translation>
        </message>
        <message>
            <source>Go to Model</source>
            <translation>Zum Modell</translation>
        </message>
        <message>
            <source>Go to Train</source>
            <translation>Zum Training</translation>
        </message>
        <message>
            <source>Go to the next problem</source>
            <translation>Zum nächsten Problem</translation>
        </message>
        <message>
            <source>Go to {page}</source>
            <translation>Zu {page}</translation>
        </message>
        <message>
            <source>Google Chat</source>
            <translation>Google Chat</translation>
        </message>
        <message>
            <source>Gradient accumulation</source>
            <translation>Gradientenakkumulation</translation>
        </message>
        <message>
            <source>Gradient checkpointing</source>
            <translation>Gradient Checkpointing</translation>
        </message>
        <message>
            <source>Gradient clipping</source>
            <translation>Gradientenbegrenzung</translation>
        </message>
        <message>
            <source>Gradient norm</source>
            <translation>Gradientennorm</translation>
        </message>
        <message>
            <source>Gradients</source>
            <translation>Gradienten</translation>
        </message>
        <message>
            <source>Greedy</source>
            <translation>Greedy</translation>
        </message>
        <message>
            <source>Greedy · {count} tokens</source>
            <translation>Greedy · {count} Tokens</translation>
        </message>
        <message>
            <source>Greek</source>
            <translation>Griechisch</translation>
        </message>
        <message>
            <source>Grid</source>
            <translation>Raster</translation>
        </message>
        <message>
            <source>Grid search</source>
            <translation>Rastersuche</translation>
        </message>
        <message>
            <source>Grid search…</source>
            <translation>Rastersuche…</translation>
        </message>
        <message>
            <source>Group by</source>
            <translation>Gruppieren nach</translation>
        </message>
        <message>
            <source>Group by length</source>
            <translation>Nach Länge gruppieren</translation>
        </message>
        <message>
            <source>HTML report…</source>
            <translation>HTML-Bericht …</translation>
        </message>
        <message>
            <source>Hardware</source>
            <translation>Hardware</translation>
        </message>
        <message>
            <source>Hebrew</source>
            <translation>Hebräisch</translation>
        </message>
        <message>
            <source>Held-out rows</source>
            <translation>Zurückgehaltene Zeilen</translation>
        </message>
        <message>
            <source>Help</source>
            <translation>Hilfe</translation>
        </message>
        <message>
            <source>Help on this field</source>
            <translation>Hilfe zu diesem Feld</translation>
        </message>
        <message>
            <source>Hide gated models</source>
            <translation>Ohne zugangsbeschränkte Modelle</translation>
        </message>
        <message>
            <source>Hide models that require you to accept their terms first</source>
            <translation>Blendet Modelle aus, deren Bedingungen Sie zuerst akzeptieren müssen</translation>
        </message>
        <message>
            <source>Highest mean reward of answers to validation prompts</source>
            <translation>Höchste mittlere Belohnung der Antworten auf Validierungsprompts</translation>
        </message>
        <message>
            <source>Highest value</source>
            <translation>Höchster Wert</translation>
        </message>
        <message>
            <source>Hindi</source>
            <translation>Hindi</translation>
        </message>
        <message>
            <source>Hinge</source>
            <translation>Hinge</translation>
        </message>
        <message>
            <source>History</source>
            <translation>Verlauf</translation>
        </message>
        <message>
            <source>Home</source>
            <translation>Start</translation>
        </message>
        <message>
            <source>Host</source>
            <translation>Host</translation>
        </message>
        <message>
            <source>Hosts</source>
            <translation>Hosts</translation>
        </message>
        <message>
            <source>How DPO turns the margin between both responses into a loss.</source>
            <translation>Wie DPO aus dem Abstand zwischen beiden Antworten einen Verlust berechnet.</translation>
        </message>
        <message>
            <source>How answers are rated when the model learns from rewards. The total is the sum of the values, each multiplied by its weight.</source>
            <translation>Wie Antworten bewertet werden, wenn das Modell aus Belohnungen lernt. Die Gesamtbelohnung ist die Summe der Werte, jeder mit seinem Gewicht multipliziert.</translation>
        </message>
        <message>
            <source>How far the probability of a token may fall in the updates with one set of completions, as a share. 0 uses the value of the method's authors. Only matters with several updates per completion.</source>
            <translation>Wie weit die Wahrscheinlichkeit eines Tokens während der Updates mit denselben Antworten sinken darf, als Anteil. 0 verwendet den Wert der Autoren der Methode. Wirkt nur bei mehreren Updates pro Antwort.</translation>
        </message>
        <message>
            <source>How far the probability of a token may rise in the updates with one set of completions, as a share. 0 uses the value of the method's authors. Only matters with several updates per completion.</source>
            <translation>Wie weit die Wahrscheinlichkeit eines Tokens während der Updates mit denselben Antworten steigen darf, als Anteil. 0 verwendet den Wert der Autoren der Methode. Wirkt nur bei mehreren Updates pro Antwort.</translation>
        </message>
        <message>
            <source>How many times the cosine schedule decays from its peak to zero.</source>
            <translation>Wie oft der Kosinus-Verlauf vom Höchstwert auf null fällt.</translation>
        </message>
        <message>
            <source>How messages are formatted as text. A base model without a chat template uses ChatML unless you choose another template. The adapter and the merged and exported models include the template.</source>
            <translation>Wie Nachrichten als Text formatiert werden. Ein Basismodell ohne Chat-Vorlage verwendet ChatML, sofern Sie keine andere wählen. Der Adapter sowie das zusammengeführte und das exportierte Modell enthalten die Vorlage.</translation>
        </message>
        <message>
            <source>How much each row counts in the loss: all the same, or more for rows with a rare label. Only used for texts with labels.</source>
            <translation>Wie viel jede Zeile im Loss zählt: alle gleich viel oder Zeilen mit einem seltenen Label mehr. Nur bei Texten mit Labels verwendet.</translation>
        </message>
        <message>
            <source>How random answers are. 0 always picks the most likely token.</source>
            <translation>Wie zufällig Antworten sind. 0 wählt immer das wahrscheinlichste Token.</translation>
        </message>
        <message>
            <source>How similar the completion is to the reference, from 0 to 1.</source>
            <translation>Wie ähnlich die Antwort der Referenz ist, von 0 bis 1.</translation>
        </message>
        <message>
            <source>How strongly reward training keeps the model close to the reference model. 0 turns it off and saves time; DeepSeekMath uses 0.04.</source>
            <translation>Wie stark das Training mit Belohnungen das Modell nahe am Referenzmodell hält. 0 schaltet das ab und spart Zeit; DeepSeekMath verwendet 0,04.</translation>
        </message>
        <message>
            <source>How surprising the reference is to the model; lower is better.</source>
            <translation>Wie überraschend die Referenz für das Modell ist; niedriger ist besser.</translation>
        </message>
        <message>
            <source>How the frozen base weights are stored during training. 16-bit is exact and fastest. 8-bit saves up to half and 4-bit up to three quarters of their memory, at a small cost in quality. On a GPU, 4-bit usually trains faster than 8-bit. On a CPU without 16-bit arithmetic, use 32-bit. The adapter itself is always trained in 32-bit.</source>
            <translation>Wie die eingefrorenen Basisgewichte beim Training gespeichert werden. 16 Bit ist exakt und am schnellsten. 8 Bit spart bis zur Hälfte und 4 Bit bis zu drei Viertel ihres Speichers bei etwas geringerer Qualität. Auf einer GPU trainiert 4 Bit meist schneller als 8 Bit. Auf einer CPU ohne 16-Bit-Arithmetik ist 32 Bit am besten. Der Adapter selbst wird immer in 32 Bit trainiert.</translation>
        </message>
        <message>
            <source>How the learning rate decays after warmup.</source>
            <translation>Wie die Lernrate nach dem Warmup fällt.</translation>
        </message>
        <message>
            <source>How the model's output becomes one vector for a text. Only used with pairs for search.</source>
            <translation>Wie aus der Ausgabe des Modells ein Vektor für einen Text wird. Nur bei Paaren für die Suche.</translation>
        </message>
        <message>
            <source>How the teacher's weights are stored in memory while its probabilities are computed.</source>
            <translation>Wie die Gewichte des Lehrers im Speicher liegen, während seine Wahrscheinlichkeiten berechnet werden.</translation>
        </message>
        <message>
            <source>How to compare the completion with the reference.</source>
            <translation>Wie die Antwort mit der Referenz verglichen wird.</translation>
        </message>
        <message>
            <source>How to learn from pairs of a chosen and a rejected response. Only used with preference pairs.</source>
            <translation>Wie aus Paaren einer bevorzugten und einer abgelehnten Antwort gelernt wird. Wird nur bei Präferenzpaaren verwendet.</translation>
        </message>
        <message>
            <source>How to learn from the rewards of several completions to one prompt. Only used with prompts.</source>
            <translation>Wie aus den Belohnungen mehrerer Antworten auf einen Prompt gelernt wird. Wird nur mit Prompts verwendet.</translation>
        </message>
        <message>
            <source>How varied the completions of reward training are. Without variety there is nothing to compare. 1 samples from the model as it is.</source>
            <translation>Wie unterschiedlich die Antworten beim Training mit Belohnungen sind. Ohne Unterschiede gibt es nichts zu vergleichen. 1 verwendet die Verteilung des Modells unverändert.</translation>
        </message>
        <message>
            <source>Hugging Face Hub</source>
            <translation>Hugging Face Hub</translation>
        </message>
        <message>
            <source>Hugging Face account</source>
            <translation>Hugging-Face-Konto</translation>
        </message>
        <message>
            <source>Hugging Face cache</source>
            <translation>Hugging-Face-Cache</translation>
        </message>
        <message>
            <source>Hungarian</source>
            <translation>Ungarisch</translation>
        </message>
        <message>
            <source>IPO</source>
            <translation>IPO</translation>
        </message>
        <message>
            <source>If a column has the prompts, map it to “prompt”.</source>
            <translation>Wenn eine Spalte die Prompts hat, ordnen Sie sie „prompt“ zu.</translation>
        </message>
        <message>
            <source>If both texts of each row belong together, choose the format “Pairs for search” to train embeddings. To learn the label of a pair, choose the format “Texts with labels”, and map “text” to a template with both columns.</source>
            <translation>Wenn die beiden Texte jeder Zeile zusammengehören, wählen Sie das Format „Paare für die Suche“, um Embeddings zu trainieren. Um das Label eines Paars zu lernen, wählen Sie das Format „Texte mit Labels“ und ordnen „text“ eine Vorlage mit beiden Spalten zu.</translation>
        </message>
        <message>
            <source>If completions should end by themselves, increase “Max. completion length”.</source>
            <translation>Sollen Antworten von selbst enden, erhöhen Sie „Max. Antwortlänge“.</translation>
        </message>
        <message>
            <source>If it belongs to what the model should read or write, map a template with several columns, such as {example}.</source>
            <translation>Wenn das Modell ihn lesen oder schreiben soll, ordnen Sie eine Vorlage mit mehreren Spalten zu, zum Beispiel {example}.</translation>
        </message>
        <message>
            <source>If it doesn't judge the answers, choose another format. Then all of them are imitated.</source>
            <translation>Falls sie die Antworten nicht bewertet, wählen Sie ein anderes Format. Dann werden alle Antworten nachgeahmt.</translation>
        </message>
        <message>
            <source>If it is the other way round, swap the columns of “chosen” and “rejected”.</source>
            <translation>Wenn es umgekehrt ist, vertauschen Sie die Spalten von „chosen“ und „rejected“.</translation>
        </message>
        <message>
            <source>If so, map that column to “{slot}”.</source>
            <translation>Ordnen Sie diese Spalte in dem Fall „{slot}“ zu.</translation>
        </message>
        <message>
            <source>If so, remove the rows with bad answers, or add a column “label” that is true for good answers and false for bad ones, to train with KTO.</source>
            <translation>Falls ja, entfernen Sie die Zeilen mit schlechten Antworten, oder fügen Sie eine Spalte „label“ hinzu, die für gute Antworten true und für schlechte false ist, um mit KTO zu trainieren.</translation>
        </message>
        <message>
            <source>If that is too much, train in 16 bits, or on a model that is stored in 4 bits: merged into that, the weights stay as they were in training.</source>
            <translation>Wenn das zu viel ist, trainieren Sie in 16 Bit oder auf einem Modell, das in 4 Bit gespeichert ist: Beim Zusammenführen mit diesem bleiben die Gewichte so, wie sie beim Training waren.</translation>
        </message>
        <message>
            <source>If the file belongs there, replace the link with a copy of it. Otherwise, delete the link.</source>
            <translation>Gehört die Datei dorthin, ersetzen Sie den Link durch eine Kopie. Löschen Sie ihn sonst.</translation>
        </message>
        <message>
            <source>If the judge is away, pause training, start it, and resume. Otherwise, stop, correct the reward, and train again.</source>
            <translation>Wenn das Bewertungsmodell nicht erreichbar ist, pausieren Sie das Training, starten Sie seinen Server und setzen Sie fort. Sonst beenden Sie das Training, korrigieren Sie die Belohnung und trainieren Sie neu.</translation>
        </message>
        <message>
            <source>If the rows are parts of conversations, write each conversation as one row of messages.</source>
            <translation>Wenn die Zeilen Teile von Gesprächen sind, schreiben Sie jedes Gespräch als eine Zeile mit Nachrichten.</translation>
        </message>
        <message>
            <source>If they are not pairs, choose another format. Then only the first answer is used.</source>
            <translation>Wenn es keine Paare sind, wählen Sie ein anderes Format. Dann wird nur die erste Antwort verwendet.</translation>
        </message>
        <message>
            <source>If they contain data, add them as sources of their own.</source>
            <translation>Wenn sie Daten enthalten, fügen Sie sie als eigene Quellen hinzu.</translation>
        </message>
        <message>
            <source>If this isn't what you want, correct these rows.</source>
            <translation>Wenn Sie das nicht möchten, korrigieren Sie diese Zeilen.</translation>
        </message>
        <message>
            <source>If training is interrupted before the next checkpoint, it resumes from step {saved_step:d}. Closing other programs helps.</source>
            <translation>Wird das Training vor dem nächsten Checkpoint unterbrochen, geht es ab Schritt {saved_step:d} weiter. Andere Programme zu schließen hilft.</translation>
        </message>
        <message>
            <source>If training is interrupted before the next checkpoint, it starts from the beginning. Closing other programs helps.</source>
            <translation>Wird das Training vor dem nächsten Checkpoint unterbrochen, beginnt es von vorn. Andere Programme zu schließen hilft.</translation>
        </message>
        <message>
            <source>If you agree, start it there with `./train.sh {options}`. README.md in the folder says so, too.</source>
            <translation>Wenn Sie einverstanden sind, starten Sie ihn dort mit `./train.sh {options}`. Das steht auch in README.md im Ordner.</translation>
        </message>
        <message>
            <source>If you didn't change it, it is damaged: delete it and resume the training, which writes it again.</source>
            <translation>Falls Sie sie nicht geändert haben, ist sie beschädigt: Löschen Sie sie und setzen Sie das Training fort; es schreibt sie neu.</translation>
        </message>
        <message>
            <source>If you don't save, the changes since you opened the project are lost.</source>
            <translation>Wenn Sie nicht speichern, gehen die Änderungen seit dem Öffnen des Projekts verloren.</translation>
        </message>
        <message>
            <source>If you expect that, allow it in the window, or run `lora-studio --trust {digest} …`.</source>
            <translation>Wenn Sie das erwarten, erlauben Sie es im Fenster, oder führen Sie `lora-studio --trust {digest} …` aus.</translation>
        </message>
        <message>
            <source>If you moved it, its job continues at the new location. Open the run there.</source>
            <translation>Wenn Sie ihn verschoben haben, läuft der Vorgang am neuen Ort weiter. Öffnen Sie den Lauf dort.</translation>
        </message>
        <message>
            <source>If you moved it, move it back. If only its name has changed, rename it back.</source>
            <translation>Wenn Sie es verschoben haben, verschieben Sie es zurück. Wenn sich nur der Name geändert hat, stellen Sie ihn wieder her.</translation>
        </message>
        <message>
            <source>If you moved it, start the step again at its new location: everything that was saved moved with it.</source>
            <translation>Wenn Sie ihn verschoben haben, starten Sie den Schritt am neuen Ort erneut: Alles Gespeicherte wurde mit verschoben.</translation>
        </message>
        <message>
            <source>If you need it, export the run again with {quantization}.</source>
            <translation>Falls Sie sie brauchen, exportieren Sie den Lauf noch einmal mit {quantization}.</translation>
        </message>
        <message>
            <source>If you need it, merge the run again.</source>
            <translation>Falls Sie es brauchen, führen Sie den Lauf noch einmal zusammen.</translation>
        </message>
        <message>
            <source>If you trust its author, turn on “Trust remote code”. Otherwise choose another model.</source>
            <translation>Wenn Sie dem Autor vertrauen, schalten Sie „Remote-Code vertrauen“ ein. Wählen Sie sonst ein anderes Modell.</translation>
        </message>
        <message>
            <source>If you trust that server, open the project in the window, or run `lora-studio --trust {digest} …`. Otherwise, remove this reward.</source>
            <translation>Wenn Sie diesem Server vertrauen, öffnen Sie das Projekt im Fenster, oder führen Sie `lora-studio --trust {digest} …` aus. Entfernen Sie sonst diese Belohnung.</translation>
        </message>
        <message>
            <source>If you trust the file, unpack it yourself or save its rows as JSON lines, and choose the result.</source>
            <translation>Wenn Sie der Datei vertrauen, entpacken Sie sie selbst oder speichern Sie ihre Zeilen als JSON Lines, und wählen Sie das Ergebnis.</translation>
        </message>
        <message>
            <source>If your model has other markers, map “text” to a template with these, for example with &lt;fim_prefix&gt;, &lt;fim_suffix&gt;, and &lt;fim_middle&gt; for StarCoder.</source>
            <translation>Wenn Ihr Modell andere Markierungen hat, ordnen Sie „text“ eine Vorlage mit diesen zu, für StarCoder zum Beispiel mit &lt;fim_prefix&gt;, &lt;fim_suffix&gt; und &lt;fim_middle&gt;.</translation>
        </message>
        <message>
            <source>Ignored: {ignored}. To use them, clear “Start from adapter”.</source>
            <translation>Ignoriert: {ignored}. Um diese Einstellungen zu verwenden, leeren Sie „Mit Adapter beginnen“.</translation>
        </message>
        <message>
            <source>Ignores pairs once their margin is large enough (Liu et al. 2024).</source>
            <translation>Beachtet Paare nicht mehr, sobald ihr Abstand groß genug ist (Liu et al. 2024).</translation>
        </message>
        <message>
            <source>Images (*.png)</source>
            <translation>Bilder (*.png)</translation>
        </message>
        <message>
            <source>Images, audio, or video</source>
            <translation>Bilder, Audio oder Video</translation>
        </message>
        <message>
            <source>Import a classifier with “Import adapter…” on Merge or `lora-studio import --adapter`, then classify texts or merge it. Load a reward model with PEFT as a sequence classification model. Neither can be exported as GGUF, run in Ollama, used in a chat, combined with others, or trained further.</source>
            <translation>Importieren Sie einen Klassifikator mit „Adapter importieren…“ unter Zusammenführen oder mit `lora-studio import --adapter`; danach können Sie Texte klassifizieren oder ihn zusammenführen. Laden Sie ein Belohnungsmodell mit PEFT als Sequenzklassifikationsmodell. Beide lassen sich nicht als GGUF exportieren, in Ollama ausführen, im Chat verwenden, mit anderen kombinieren oder weitertrainieren.</translation>
        </message>
        <message>
            <source>Import adapter…</source>
            <translation>Adapter importieren…</translation>
        </message>
        <message>
            <source>Importance matrix</source>
            <translation>Wichtigkeitsmatrix</translation>
        </message>
        <message>
            <source>Importance matrix: {weights} weights measured on {tokens} tokens.</source>
            <translation>Importance-Matrix: {weights} Gewichte, gemessen an {tokens} Tokens.</translation>
        </message>
        <message>
            <source>Importing the adapter</source>
            <translation>Adapter wird importiert</translation>
        </message>
        <message>
            <source>Importing the model</source>
            <translation>Modell wird importiert</translation>
        </message>
        <message>
            <source>In PEFT's method comparison (Llama-3.2-3B, MetaMathQA), 51.3 % of the answers were correct, compared with 47.8 % for LoRA with rank 32, and training used 21.0 GiB instead of 20.8 GiB. It also forgot more: the loss on Wikipedia articles rose by 0.11 instead of 0.05.</source>
            <translation>Im Methodenvergleich von PEFT (Llama-3.2-3B, MetaMathQA) waren 51,3 % der Antworten richtig, bei LoRA mit Rang 32 waren es 47,8 %; das Training brauchte 21,0 GiB statt 20,8 GiB. Es ging auch mehr Wissen verloren: Der Loss auf Wikipedia-Artikeln stieg um 0,11 statt um 0,05.</translation>
        </message>
        <message>
            <source>In PEFT's method comparison (Llama-3.2-3B, MetaMathQA), the loss on Wikipedia articles rose by only 0.03, compared with 0.05 for LoRA with rank 32 on q and v. 49.4 % of the answers were correct instead of 47.8 %, and training used 23.0 GiB instead of 20.8 GiB.</source>
            <translation>Im Methodenvergleich von PEFT (Llama-3.2-3B, MetaMathQA) stieg der Loss auf Wikipedia-Artikeln nur um 0,03, bei LoRA mit Rang 32 in q und v um 0,05. 49,4 % der Antworten waren richtig statt 47,8 %; das Training brauchte 23,0 GiB statt 20,8 GiB.</translation>
        </message>
        <message>
            <source>In a mixture of experts, also adapts the stacked weights of all experts. This takes as much additional memory as these weights take in 16 bits. Routers always stay frozen.</source>
            <translation>Passt in einem Mixture-of-Experts-Modell auch die gestapelten Gewichte aller Experten an. Das braucht so viel zusätzlichen Speicher, wie diese Gewichte in 16 Bit belegen. Router bleiben immer eingefroren.</translation>
        </message>
        <message>
            <source>In offline mode, LoRA Studio doesn't connect to other computers. Models, data, and Ollama on this computer work as usual. Anything that needs the Hub waits until you turn it off.</source>
            <translation>Im Offline-Modus verbindet sich LoRA Studio nicht mit anderen Computern. Modelle, Daten und Ollama auf diesem Computer funktionieren wie gewohnt. Was den Hub braucht, wartet, bis Sie den Modus ausschalten.</translation>
        </message>
        <message>
            <source>In offline mode, LoRA Studio doesn't contact any other computer. An Ollama server on this computer still works. Running jobs of the open project go offline at once; jobs of other projects only when they start again.</source>
            <translation>Im Offline-Modus verbindet sich LoRA Studio mit keinem anderen Computer. Ein Ollama-Server auf diesem Computer funktioniert weiterhin. Laufende Aufträge des geöffneten Projekts gehen sofort offline, die anderer Projekte erst beim nächsten Start.</translation>
        </message>
        <message>
            <source>In offline mode, you can only install an engine from a wheel folder.</source>
            <translation>Im Offline-Modus lässt sich eine Engine nur aus einem Wheel-Ordner installieren.</translation>
        </message>
        <message>
            <source>In the last {steps} steps, all completions to a prompt got the same reward, so the model learns nothing.</source>
            <translation>In den letzten {steps} Schritten erhielten alle Antworten auf einen Prompt dieselbe Belohnung. Das Modell lernt so nichts.</translation>
        </message>
        <message>
            <source>In the other order:</source>
            <translation>In der anderen Reihenfolge:</translation>
        </message>
        <message>
            <source>In this order:</source>
            <translation>In dieser Reihenfolge:</translation>
        </message>
        <message numerus="yes">
            <source>In {n} conversations of {rows} checked, “{speaker}” writes first. What “{speaker}” writes before somebody else does isn't used.</source>
            <translation>
                <numerusform>In {n} von {rows} geprüften Unterhaltungen schreibt „{speaker}“ zuerst. Was „{speaker}“ vor allen anderen schreibt, wird nicht verwendet.</numerusform>
                <numerusform>In {n} von {rows} geprüften Unterhaltungen schreibt „{speaker}“ zuerst. Was „{speaker}“ vor allen anderen schreibt, wird nicht verwendet.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>In {n} conversations with unusual characters, the tokens of the GGUF file differ.</source>
            <translation>
                <numerusform>In {n} Gespräch mit ungewöhnlichen Zeichen weichen die Tokens der GGUF-Datei ab.</numerusform>
                <numerusform>In {n} Gesprächen mit ungewöhnlichen Zeichen weichen die Tokens der GGUF-Datei ab.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>In {n} rows, only the last answer is trained: this chat template renders earlier turns differently later on, for example without the system message.</source>
            <translation>
                <numerusform>In {n} Zeile wird nur die letzte Antwort trainiert: Diese Chat-Vorlage gibt frühere Beiträge später anders aus, zum Beispiel ohne die Systemnachricht.</numerusform>
                <numerusform>In {n} Zeilen wird nur die letzte Antwort trainiert: Diese Chat-Vorlage gibt frühere Beiträge später anders aus, zum Beispiel ohne die Systemnachricht.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>In {n} rows, starting with row {row:d}: {oddity}.</source>
            <translation>
                <numerusform>In {n} Zeile, Zeile {row:d}: {oddity}.</numerusform>
                <numerusform>In {n} Zeilen, zuerst in Zeile {row:d}: {oddity}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>In {n} rows, the reasoning of earlier answers is left out: this chat template shows only the reasoning of the last answer.</source>
            <translation>
                <numerusform>In {n} Zeile fehlen die Überlegungen früherer Antworten: Diese Chat-Vorlage zeigt nur die der letzten Antwort.</numerusform>
                <numerusform>In {n} Zeilen fehlen die Überlegungen früherer Antworten: Diese Chat-Vorlage zeigt nur die der letzten Antwort.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>In {n} rows, “{column}” refers to a row that is missing. Answers to it are skipped, and questions start conversations.</source>
            <translation>
                <numerusform>In {n} Zeile verweist „{column}“ auf eine fehlende Zeile. Eine Antwort darauf wird übersprungen, eine Frage beginnt ein Gespräch.</numerusform>
                <numerusform>In {n} Zeilen verweist „{column}“ auf eine fehlende Zeile. Antworten darauf werden übersprungen, Fragen beginnen Gespräche.</numerusform>
            </translation>
        </message>
        <message>
            <source>In {rows}, an answer comes first, a system message is in the middle, or the last turn is not an answer. Many chat templates reject this or render it incorrectly.</source>
            <translation>In {rows} kommt eine Antwort zuerst, steht eine Systemnachricht in der Mitte oder ist der letzte Beitrag keine Antwort. Viele Chat-Vorlagen lehnen das ab oder geben es falsch aus.</translation>
        </message>
        <message>
            <source>In {rows}, columns or value types differ from the rest of the source: {shape}.</source>
            <translation>In {rows} weichen Spalten oder Arten von Werten vom Rest der Quelle ab: {shape}.</translation>
        </message>
        <message>
            <source>In {rows}, the label is spelled differently from a more frequent one: {spellings}. Each spelling would be trained as a label of its own.</source>
            <translation>In {rows} ist das Label anders geschrieben als ein häufigeres: {spellings}. Jede Schreibweise würde als eigenes Label trainiert.</translation>
        </message>
        <message>
            <source>In {rows}, the passage is also the one that another query should find ({passages:d} different passages). Rows with the same passage aren't negatives of each other, so a batch has fewer negatives.</source>
            <translation>In {rows} ist der Text auch der, den eine andere Suchanfrage finden soll ({passages:d} verschiedene Texte). Zeilen mit demselben Text sind keine Negativbeispiele füreinander; ein Batch hat dadurch weniger Negativbeispiele.</translation>
        </message>
        <message>
            <source>In {rows}, the query and the passage to find are the same text, so there is nothing to learn.</source>
            <translation>In {rows} sind Suchanfrage und gesuchter Text gleich; daraus lässt sich nichts lernen.</translation>
        </message>
        <message>
            <source>In {rows}, the question has a different answer in another row. That is fine if answers are meant to vary.</source>
            <translation>In {rows} hat die Frage in einer anderen Zeile eine andere Antwort. Das ist in Ordnung, wenn Antworten variieren sollen.</translation>
        </message>
        <message>
            <source>In {rows}, the same answer is both the preferred and the rejected one, in the same row or in another.</source>
            <translation>In {rows} ist dieselbe Antwort sowohl die bevorzugte als auch die abgelehnte, in derselben oder einer anderen Zeile.</translation>
        </message>
        <message>
            <source>In {rows}, the text has a different label in another row. A text can have only one label, so the classifier can't learn both.</source>
            <translation>In {rows} hat der Text in einer anderen Zeile ein anderes Label. Ein Text kann nur ein Label haben; der Klassifikator kann nicht beide lernen.</translation>
        </message>
        <message>
            <source>In-batch accuracy</source>
            <translation>Genauigkeit im Batch</translation>
        </message>
        <message>
            <source>Increase the micro-batch size or the gradient accumulation.</source>
            <translation>Vergrößern Sie den Mikro-Batch oder die Gradientenakkumulation.</translation>
        </message>
        <message>
            <source>Increase the micro-batch size or the gradient accumulation. More rows per step train better embeddings: 32 or more are common.</source>
            <translation>Erhöhen Sie die Micro-Batch-Größe oder die Gradienten-Akkumulation. Mehr Zeilen pro Schritt ergeben bessere Embeddings: 32 oder mehr sind üblich.</translation>
        </message>
        <message>
            <source>Increase “Max. sequence length”, or shorten the row.</source>
            <translation>Erhöhen Sie „Max. Sequenzlänge“ oder kürzen Sie die Zeile.</translation>
        </message>
        <message>
            <source>Increase “Max. sequence length”, or shorten the rows.</source>
            <translation>Erhöhen Sie „Max. Sequenzlänge“ oder kürzen Sie die Zeilen.</translation>
        </message>
        <message>
            <source>Indices of the transformer blocks that get an adapter, starting at 0, such as 0-7, 12. Leave empty for all.</source>
            <translation>Nummern der Transformer-Blöcke, die einen Adapter bekommen, ab 0 gezählt, etwa 0-7, 12. Leer lassen für alle.</translation>
        </message>
        <message>
            <source>Indonesian</source>
            <translation>Indonesisch</translation>
        </message>
        <message>
            <source>Initial values of the adapter. Default starts with no change to the model. EVA samples rows of the dataset and starts with the directions that vary most. PiSSA uses the largest singular vectors of the weights and often learns faster; OLoRA uses an orthonormal basis of them. Both need an unquantized base model. LoftQ compensates for the error of 4-bit weights. With PiSSA, OLoRA, and LoftQ, the saved adapter has twice the rank.</source>
            <translation>Anfangswerte des Adapters. „Standard“ verändert das Modell zu Beginn nicht. EVA sieht sich einen Teil der Zeilen an und beginnt mit den Richtungen, die am stärksten variieren. PiSSA verwendet die größten Singulärvektoren der Gewichte und lernt oft schneller, OLoRA eine Orthonormalbasis davon. Beide brauchen ein unquantisiertes Basismodell. LoftQ gleicht den Fehler von 4-Bit-Gewichten aus. Mit PiSSA, OLoRA und LoftQ hat der gespeicherte Adapter den doppelten Rang.</translation>
        </message>
        <message>
            <source>Initialization</source>
            <translation>Initialisierung</translation>
        </message>
        <message>
            <source>Insert {text}</source>
            <translation>{text} einfügen</translation>
        </message>
        <message>
            <source>Inspecting the model</source>
            <translation>Modell wird untersucht</translation>
        </message>
        <message>
            <source>Install Ollama from {url} and start it (`ollama serve`), or correct the address. The GGUF file and the Modelfile are complete: to create the model later, run `{command}` in the run's folder.</source>
            <translation>Installieren Sie Ollama von {url} und starten Sie es (`ollama serve`) oder korrigieren Sie die Adresse. GGUF-Datei und Modelfile sind vollständig: Um das Modell später zu erstellen, führen Sie `{command}` im Ordner des Laufs aus.</translation>
        </message>
        <message>
            <source>Install Ollama from {url} and start it (`ollama serve`), or correct the address. Then evaluate again: answers of unchanged models are reused.</source>
            <translation>Installieren Sie Ollama von {url} und starten Sie es (`ollama serve`), oder korrigieren Sie die Adresse. Starten Sie die Auswertung dann erneut: Antworten unveränderter Modelle werden wiederverwendet.</translation>
        </message>
        <message>
            <source>Install Python 3.12 on that system, then start the setup again.</source>
            <translation>Installieren Sie Python 3.12 auf diesem System und starten Sie die Einrichtung erneut.</translation>
        </message>
        <message>
            <source>Install Python 3.12, then start the setup again.</source>
            <translation>Installieren Sie Python 3.12 und starten Sie die Einrichtung erneut.</translation>
        </message>
        <message>
            <source>Install it (pip install unsloth) in the engine's environment, or set the backend to Automatic.</source>
            <translation>Installieren Sie es (pip install unsloth) in der Umgebung der Engine, oder stellen Sie das Backend auf „Automatisch“.</translation>
        </message>
        <message>
            <source>Install it in the engine's environment: {command}</source>
            <translation>Installieren Sie es in der Umgebung der Engine: {command}</translation>
        </message>
        <message>
            <source>Install it with `pip install uv`, or set {variable} to its path.</source>
            <translation>Installieren Sie es mit `pip install uv` oder setzen Sie {variable} auf seinen Pfad.</translation>
        </message>
        <message>
            <source>Install it with pip install {package}, or turn it off.</source>
            <translation>Installieren Sie ihn mit pip install {package} oder schalten Sie ihn aus.</translation>
        </message>
        <message>
            <source>Install llama.cpp with `{brew}` (macOS, Linux) or `{winget}` (Windows), or download a release from {releases} and choose its folder as the llama.cpp folder.</source>
            <translation>Installieren Sie llama.cpp mit `{brew}` (macOS, Linux) oder `{winget}` (Windows), oder laden Sie ein Release von {releases} herunter und wählen Sie dessen Ordner als llama.cpp-Ordner.</translation>
        </message>
        <message>
            <source>Install offline from a wheel folder that was created on another computer</source>
            <translation>Offline aus einem Wheel-Ordner installieren, der auf einem anderen Computer erstellt wurde</translation>
        </message>
        <message>
            <source>Install one with `lora-studio engine install`.</source>
            <translation>Installieren Sie eine mit `lora-studio engine install`.</translation>
        </message>
        <message>
            <source>Install pip for this Python with {command}, or choose another model.</source>
            <translation>Installieren Sie pip für dieses Python mit {command} oder wählen Sie ein anderes Modell.</translation>
        </message>
        <message>
            <source>Install the engine again, or choose your own llama.cpp folder.</source>
            <translation>Installieren Sie die Engine neu oder wählen Sie einen eigenen llama.cpp-Ordner.</translation>
        </message>
        <message>
            <source>Install them there: {python} -m pip install {missing}</source>
            <translation>Installieren Sie sie dort: {python} -m pip install {missing}</translation>
        </message>
        <message>
            <source>Installing</source>
            <translation>Installieren</translation>
        </message>
        <message>
            <source>Interrupted</source>
            <translation>Unterbrochen</translation>
        </message>
        <message>
            <source>Interval unit</source>
            <translation>Einheit der Intervalle</translation>
        </message>
        <message>
            <source>Inverse square root</source>
            <translation>Inverse Quadratwurzel</translation>
        </message>
        <message>
            <source>Is it better?</source>
            <translation>Ist es besser?</translation>
        </message>
        <message>
            <source>It can continue in the background. Reopen the project to see it again.</source>
            <translation>Der Auftrag kann im Hintergrund weiterlaufen. Öffnen Sie das Projekt wieder, um ihn zu sehen.</translation>
        </message>
        <message>
            <source>It can't be read: {reason}.</source>
            <translation>Es lässt sich nicht lesen: {reason}.</translation>
        </message>
        <message>
            <source>It fails with a top-1 agreement below {top1} or above {kl} nats.</source>
            <translation>Nicht bestanden bei einer Top-1-Übereinstimmung unter {top1} oder über {kl} Nats.</translation>
        </message>
        <message>
            <source>It has no .safetensors file.</source>
            <translation>Es hat keine .safetensors-Datei.</translation>
        </message>
        <message>
            <source>It has no layer that the preset {preset} selects.</source>
            <translation>Es hat keine Schicht, die die Voreinstellung {preset} auswählt.</translation>
        </message>
        <message>
            <source>It has no linear layer named {name}.</source>
            <translation>Es hat keine lineare Schicht namens {name}.</translation>
        </message>
        <message>
            <source>It has no linear layers.</source>
            <translation>Es hat keine linearen Schichten.</translation>
        </message>
        <message>
            <source>It has no models yet.</source>
            <translation>Er hat noch keine Modelle.</translation>
        </message>
        <message>
            <source>It is an adapter on another model, which Ollama stores separately.</source>
            <translation>Es ist ein Adapter auf einem anderen Modell, das Ollama getrennt speichert.</translation>
        </message>
        <message>
            <source>It is one part of a split file. Join the parts with llama-gguf-split first.</source>
            <translation>Es ist ein Teil einer geteilten Datei. Fügen Sie die Teile zuerst mit llama-gguf-split zusammen.</translation>
        </message>
        <message>
            <source>It is set in the project.</source>
            <translation>Es ist im Projekt eingestellt.</translation>
        </message>
        <message>
            <source>It is the default.</source>
            <translation>Es ist die Voreinstellung.</translation>
        </message>
        <message>
            <source>It passes with a top-1 agreement of at least {top1} and at most {kl} nats.</source>
            <translation>Bestanden ab einer Top-1-Übereinstimmung von {top1} und bis {kl} Nats.</translation>
        </message>
        <message>
            <source>It was created with other settings: {changes}. Export again, or create the model again, to apply them.</source>
            <translation>Es wurde mit anderen Einstellungen erstellt: {changes}. Exportieren Sie erneut oder erstellen Sie das Modell neu, um sie anzuwenden.</translation>
        </message>
        <message>
            <source>It was merged with other settings: {changes}. Merge again to apply them.</source>
            <translation>Es wurde mit anderen Einstellungen zusammengeführt: {changes}. Führen Sie es erneut zusammen, um sie anzuwenden.</translation>
        </message>
        <message>
            <source>It was trained on {named}. On another model of the same shape its output is meaningless.</source>
            <translation>Er wurde auf {named} trainiert. Auf einem anderen Modell gleicher Form ist seine Ausgabe sinnlos.</translation>
        </message>
        <message>
            <source>Italian</source>
            <translation>Italienisch</translation>
        </message>
        <message>
            <source>Its TEMPLATE can't be rendered: {reason}.</source>
            <translation>Sein TEMPLATE lässt sich nicht rendern: {reason}.</translation>
        </message>
        <message>
            <source>Its answers can differ from those of the trained model. Update Ollama and create the model again.</source>
            <translation>Seine Antworten können von denen des trainierten Modells abweichen. Aktualisieren Sie Ollama und legen Sie das Modell neu an.</translation>
        </message>
        <message>
            <source>Its arguments can be prompt, answer, reference, and columns. It returns a number.</source>
            <translation>Ihre Argumente können prompt, answer, reference und columns sein. Sie gibt eine Zahl zurück.</translation>
        </message>
        <message>
            <source>Its linear layers are: {names}.</source>
            <translation>Seine linearen Schichten sind: {names}.</translation>
        </message>
        <message>
            <source>Its name can't have a slash or a line break.</source>
            <translation>Ihr Name darf keinen Schrägstrich und keinen Zeilenumbruch enthalten.</translation>
        </message>
        <message>
            <source>Its name is reserved for a kind of reward.</source>
            <translation>Ihr Name ist für eine Art von Belohnung reserviert.</translation>
        </message>
        <message>
            <source>Its process was killed, for example because the computer ran out of memory.</source>
            <translation>Der Prozess wurde beendet, zum Beispiel weil der Arbeitsspeicher voll war.</translation>
        </message>
        <message>
            <source>Its slots are {slots}.</source>
            <translation>Seine Felder sind {slots}.</translation>
        </message>
        <message>
            <source>Its weights are pickles, which can run any code when they are opened. They are never loaded.</source>
            <translation>Seine Gewichte sind Pickles, die beim Öffnen beliebigen Code ausführen können. Sie werden nie geladen.</translation>
        </message>
        <message>
            <source>Its weights or its config.json may be damaged: download or copy the model again. A model in float16 may need bfloat16.</source>
            <translation>Seine Gewichte oder seine config.json sind vielleicht beschädigt: Laden oder kopieren Sie das Modell erneut. Ein Modell in float16 braucht vielleicht bfloat16.</translation>
        </message>
        <message>
            <source>Its weights should be exactly those of the training, so its limits are strict.</source>
            <translation>Die Gewichte sollten genau die des Trainings sein, deshalb sind die Grenzen streng.</translation>
        </message>
        <message>
            <source>JSON columns</source>
            <translation>JSON-Spalten</translation>
        </message>
        <message>
            <source>JSON lines</source>
            <translation>JSON-Zeilen</translation>
        </message>
        <message>
            <source>JSON list</source>
            <translation>JSON-Liste</translation>
        </message>
        <message>
            <source>JSON list in an object</source>
            <translation>JSON-Liste in einem Objekt</translation>
        </message>
        <message>
            <source>JSON objects</source>
            <translation>JSON-Objekte</translation>
        </message>
        <message>
            <source>JSON schema</source>
            <translation>JSON-Schema</translation>
        </message>
        <message>
            <source>JSON…</source>
            <translation>JSON …</translation>
        </message>
        <message>
            <source>Japanese</source>
            <translation>Japanisch</translation>
        </message>
        <message>
            <source>Join the parts with llama-gguf-split --merge, and choose the file that it writes.</source>
            <translation>Fügen Sie die Teile mit llama-gguf-split --merge zusammen, und wählen Sie die Datei, die dabei entsteht.</translation>
        </message>
        <message>
            <source>Judge</source>
            <translation>Richter</translation>
        </message>
        <message>
            <source>Judge model</source>
            <translation>Bewertungsmodell</translation>
        </message>
        <message>
            <source>Judge {model}</source>
            <translation>Richter {model}</translation>
        </message>
        <message>
            <source>Judge: as good as {model}</source>
            <translation>Richter: so gut wie {model}</translation>
        </message>
        <message>
            <source>Judge: better than {model}</source>
            <translation>Richter: besser als {model}</translation>
        </message>
        <message>
            <source>Judge: no verdict</source>
            <translation>Richter: kein Urteil</translation>
        </message>
        <message>
            <source>Judge: worse than {model}</source>
            <translation>Richter: schlechter als {model}</translation>
        </message>
        <message>
            <source>Judge: {first} and {second}</source>
            <translation>Richter: {first} und {second}</translation>
        </message>
        <message>
            <source>Judge: {result}</source>
            <translation>Richter: {result}</translation>
        </message>
        <message>
            <source>KL (nats per token)</source>
            <translation>KL (Nat pro Token)</translation>
        </message>
        <message>
            <source>KL divergence: {kl} nats.</source>
            <translation>KL-Divergenz: {kl} Nats.</translation>
        </message>
        <message>
            <source>KL to the reference</source>
            <translation>KL zur Referenz</translation>
        </message>
        <message>
            <source>KL to the teacher</source>
            <translation>KL zum Lehrer</translation>
        </message>
        <message>
            <source>KL to the teacher (nats per token)</source>
            <translation>KL zum Lehrer (Nats pro Token)</translation>
        </message>
        <message>
            <source>KL weight</source>
            <translation>KL-Gewicht</translation>
        </message>
        <message>
            <source>KTO</source>
            <translation>KTO</translation>
        </message>
        <message>
            <source>KTO needs at least two rows in each optimizer step.</source>
            <translation>KTO braucht mindestens zwei Zeilen in jedem Optimizer-Schritt.</translation>
        </message>
        <message>
            <source>Keep the best adapter</source>
            <translation>Den besten Adapter behalten</translation>
        </message>
        <message>
            <source>Keeps everything else. Unfinished runs can no longer be resumed.</source>
            <translation>Behält alles andere. Unfertige Läufe lassen sich dann nicht mehr fortsetzen.</translation>
        </message>
        <message>
            <source>Kernels for norms, gated MLPs, and rotary embeddings: Liger's on GPUs with Liger installed, also for the loss; compiled ones in long 16-bit training runs on Linux CPUs with AMX and g++. Each is tested first and skipped if its values or gradients differ.</source>
            <translation>Kernel für Normen, Gated MLPs und Rotary Embeddings: die von Liger auf GPUs mit installiertem Liger, auch für den Loss; kompilierte in langen 16-Bit-Trainings auf Linux-CPUs mit AMX und g++. Jeder wird zuerst geprüft und ausgelassen, wenn seine Werte oder Gradienten abweichen.</translation>
        </message>
        <message>
            <source>Key variable</source>
            <translation>Schlüsselvariable</translation>
        </message>
        <message>
            <source>Keyboard shortcuts</source>
            <translation>Tastenkürzel</translation>
        </message>
        <message>
            <source>Kind</source>
            <translation>Art</translation>
        </message>
        <message>
            <source>Kind of server</source>
            <translation>Art des Servers</translation>
        </message>
        <message>
            <source>Known differences</source>
            <translation>Bekannte Unterschiede</translation>
        </message>
        <message>
            <source>Korean</source>
            <translation>Koreanisch</translation>
        </message>
        <message>
            <source>LM Studio models folder</source>
            <translation>Modellordner von LM Studio</translation>
        </message>
        <message>
            <source>LM Studio's models folder was not found on this computer.</source>
            <translation>Der Modellordner von LM Studio wurde auf diesem Computer nicht gefunden.</translation>
        </message>
        <message>
            <source>Label</source>
            <translation>Label</translation>
        </message>
        <message>
            <source>Label Studio annotations</source>
            <translation>Annotationen aus Label Studio</translation>
        </message>
        <message>
            <source>Label Studio annotations of parts of texts</source>
            <translation>Annotationen von Textstellen aus Label Studio</translation>
        </message>
        <message>
            <source>Label Studio annotations of parts, ratings, or media</source>
            <translation>Annotationen von Textstellen, Bewertungen oder Medien aus Label Studio</translation>
        </message>
        <message>
            <source>Label smoothing</source>
            <translation>Label Smoothing</translation>
        </message>
        <message>
            <source>Label weights</source>
            <translation>Gewichte der Labels</translation>
        </message>
        <message>
            <source>Labeled answers</source>
            <translation>Bewertete Antworten</translation>
        </message>
        <message>
            <source>Labeled answers (completion, label)</source>
            <translation>Bewertete Antworten (completion, label)</translation>
        </message>
        <message>
            <source>Labeled texts</source>
            <translation>Texte mit Labels</translation>
        </message>
        <message>
            <source>Labels</source>
            <translation>Labels</translation>
        </message>
        <message>
            <source>Labels from {source}: {labels}.</source>
            <translation>Labels aus {source}: {labels}.</translation>
        </message>
        <message>
            <source>Labels that differ only in case or spaces</source>
            <translation>Labels, die sich nur in Groß-/Kleinschreibung oder Leerzeichen unterscheiden</translation>
        </message>
        <message>
            <source>Labels with very few rows</source>
            <translation>Labels mit sehr wenigen Zeilen</translation>
        </message>
        <message>
            <source>Labels without training rows</source>
            <translation>Labels ohne Trainingszeilen</translation>
        </message>
        <message>
            <source>Labels without validation rows</source>
            <translation>Labels ohne Validierungszeilen</translation>
        </message>
        <message>
            <source>Language</source>
            <translation>Sprache</translation>
        </message>
        <message>
            <source>Language model fine-tuning</source>
            <translation>Feinabstimmung von Sprachmodellen</translation>
        </message>
        <message>
            <source>Language of the completion.</source>
            <translation>Sprache der Antwort.</translation>
        </message>
        <message>
            <source>Larger text</source>
            <translation>Größerer Text</translation>
        </message>
        <message>
            <source>Larger values are clipped to it. Leave empty for no limit.</source>
            <translation>Größere Werte werden darauf begrenzt. Leer lassen für keine Grenze.</translation>
        </message>
        <message>
            <source>Largest difference that still counts as equal.</source>
            <translation>Größter Unterschied, der noch als gleich zählt.</translation>
        </message>
        <message>
            <source>Largest update: layer {layer}, ‖ΔW‖ {norm}.</source>
            <translation>Größte Änderung: Schicht {layer}, ‖ΔW‖ {norm}.</translation>
        </message>
        <message>
            <source>Last answer only</source>
            <translation>Nur letzte Antwort</translation>
        </message>
        <message>
            <source>Last contact</source>
            <translation>Letzter Kontakt</translation>
        </message>
        <message>
            <source>Last token</source>
            <translation>Letztes Token</translation>
        </message>
        <message>
            <source>Latvian</source>
            <translation>Lettisch</translation>
        </message>
        <message>
            <source>Layer {layer}: ‖ΔW‖ {norm}</source>
            <translation>Schicht {layer}: ‖ΔW‖ {norm}</translation>
        </message>
        <message>
            <source>Layers</source>
            <translation>Schichten</translation>
        </message>
        <message>
            <source>Learn from examples</source>
            <translation>Aus Beispielen lernen</translation>
        </message>
        <message>
            <source>Learn from rewards</source>
            <translation>Aus Belohnungen lernen</translation>
        </message>
        <message>
            <source>Learning from a teacher</source>
            <translation>Von einem Lehrer lernen</translation>
        </message>
        <message>
            <source>Learning rate</source>
            <translation>Lernrate</translation>
        </message>
        <message>
            <source>Learning rate of the B matrices divided by that of the A matrices. 1 uses the same rate for both; 16 often learns faster (LoRA+, Hayou et al. 2024).</source>
            <translation>Lernrate der B-Matrizen geteilt durch die der A-Matrizen. 1 verwendet für beide dieselbe; 16 lernt oft schneller (LoRA+, Hayou et al. 2024).</translation>
        </message>
        <message>
            <source>Learning rate schedule</source>
            <translation>Lernratenplan</translation>
        </message>
        <message>
            <source>Learning rate {value:small}</source>
            <translation>Lernrate {value:small}</translation>
        </message>
        <message>
            <source>Learns more: rank 64 on q and v, with a stabilized scale</source>
            <translation>Lernt mehr: Rang 64 in q und v, mit stabilisierter Skalierung</translation>
        </message>
        <message>
            <source>Learns the magnitude of each weight row separately from its direction (Liu et al. 2024). Often better at low ranks; slower, and uses more memory.</source>
            <translation>Lernt die Länge jeder Gewichtszeile getrennt von ihrer Richtung (Liu et al. 2024). Oft besser bei niedrigen Rängen; langsamer und braucht mehr Speicher.</translation>
        </message>
        <message>
            <source>Leave empty to look for it in your home folder.</source>
            <translation>Leer lassen, um im Home-Ordner danach zu suchen.</translation>
        </message>
        <message>
            <source>Leave it empty</source>
            <translation>Leer lassen</translation>
        </message>
        <message>
            <source>Leave the subset empty.</source>
            <translation>Lassen Sie die Teilmenge leer.</translation>
        </message>
        <message>
            <source>Length</source>
            <translation>Länge</translation>
        </message>
        <message>
            <source>Length unit</source>
            <translation>Längeneinheit</translation>
        </message>
        <message>
            <source>Lengths</source>
            <translation>Längen</translation>
        </message>
        <message>
            <source>Less</source>
            <translation>Weniger</translation>
        </message>
        <message>
            <source>Let another model compare the answers</source>
            <translation>Ein anderes Modell die Antworten vergleichen lassen</translation>
        </message>
        <message>
            <source>Library that loads and wraps the model. Automatic uses PEFT, which works everywhere; estimates of memory and time are for PEFT. Unsloth has its own kernels for the GPUs and models that it supports.</source>
            <translation>Bibliothek, die das Modell lädt und um den Adapter ergänzt. „Automatisch“ verwendet PEFT, das überall funktioniert; die Schätzungen von Speicher und Zeit gelten für PEFT. Unsloth hat eigene Kernel für die GPUs und Modelle, die es unterstützt.</translation>
        </message>
        <message>
            <source>License</source>
            <translation>Lizenz</translation>
        </message>
        <message>
            <source>Licenses</source>
            <translation>Lizenzen</translation>
        </message>
        <message>
            <source>Liger and compiled kernels</source>
            <translation>Liger- und kompilierte Kernel</translation>
        </message>
        <message>
            <source>Liger can't compute gates: {reason}.</source>
            <translation>Liger kann die Gates nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Liger can't compute norms: {reason}.</source>
            <translation>Liger kann die Normen nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Liger can't compute rotary embeddings: {reason}.</source>
            <translation>Liger kann die Rotary Embeddings nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Liger can't compute the loss: {reason}.</source>
            <translation>Liger kann den Loss nicht berechnen: {reason}.</translation>
        </message>
        <message>
            <source>Liger kernels aren't installed because they aren't compatible with the other packages ({reason}).</source>
            <translation>Die Liger-Kernel werden nicht installiert, weil sie nicht zu den anderen Paketen passen ({reason}).</translation>
        </message>
        <message>
            <source>Liger kernels aren't used.</source>
            <translation>Liger-Kernel werden nicht verwendet.</translation>
        </message>
        <message>
            <source>Liger kernels compute the loss.</source>
            <translation>Liger-Kernel berechnen den Loss.</translation>
        </message>
        <message>
            <source>Liger kernels compute {layers} of these layers, and the loss.</source>
            <translation>Liger-Kernel berechnen {layers} dieser Schichten und den Loss.</translation>
        </message>
        <message>
            <source>Liger kernels compute {layers} of these layers.</source>
            <translation>Liger-Kernel berechnen {layers} dieser Schichten.</translation>
        </message>
        <message>
            <source>Light</source>
            <translation>Hell</translation>
        </message>
        <message>
            <source>Light dropout: reduces overfitting on a few hundred rows.</source>
            <translation>Leichtes Dropout: weniger Overfitting bei einigen hundert Zeilen.</translation>
        </message>
        <message>
            <source>Limit rows to {limit} tokens</source>
            <translation>Zeilen auf {limit} Tokens begrenzen</translation>
        </message>
        <message>
            <source>Linear</source>
            <translation>Linear</translation>
        </message>
        <message>
            <source>Linear layers of a transformer block that get an adapter</source>
            <translation>Lineare Schichten eines Transformer-Blocks, die einen Adapter bekommen</translation>
        </message>
        <message>
            <source>Linear layers of each transformer block that get an adapter. More layers learn more and use more memory.</source>
            <translation>Lineare Schichten jedes Transformer-Blocks, die einen Adapter bekommen. Mehr Schichten lernen mehr und brauchen mehr Speicher.</translation>
        </message>
        <message>
            <source>Links the files into LM Studio's models folder. On the same disk, this needs no extra space.</source>
            <translation>Verlinkt die Dateien in den Modellordner von LM Studio. Auf derselben Festplatte braucht das keinen zusätzlichen Platz.</translation>
        </message>
        <message>
            <source>Lion</source>
            <translation>Lion</translation>
        </message>
        <message>
            <source>Lion 8-bit</source>
            <translation>Lion 8 Bit</translation>
        </message>
        <message>
            <source>Lion 8-bit, paged</source>
            <translation>Lion 8 Bit, paged</translation>
        </message>
        <message>
            <source>Lion, paged</source>
            <translation>Lion, paged</translation>
        </message>
        <message>
            <source>List each device only once.</source>
            <translation>Geben Sie jedes Gerät nur einmal an.</translation>
        </message>
        <message>
            <source>Listing the benchmarks</source>
            <translation>Benchmarks werden aufgelistet</translation>
        </message>
        <message>
            <source>Lithuanian</source>
            <translation>Litauisch</translation>
        </message>
        <message>
            <source>Llama 3</source>
            <translation>Llama 3</translation>
        </message>
        <message>
            <source>LoRA</source>
            <translation>LoRA</translation>
        </message>
        <message>
            <source>LoRA Studio and your project are fine. The file may be damaged or made to use up memory: check where it comes from, or choose another one.</source>
            <translation>LoRA Studio und Ihr Projekt sind unversehrt. Die Datei ist vielleicht beschädigt oder soll den Arbeitsspeicher füllen: Prüfen Sie, woher sie stammt, oder wählen Sie eine andere.</translation>
        </message>
        <message>
            <source>LoRA Studio and your project are fine. The file may be damaged or made to use up memory: check where it comes from. If you trust it, save its rows as JSON lines.</source>
            <translation>LoRA Studio und Ihr Projekt sind unversehrt. Die Datei ist vielleicht beschädigt oder soll den Arbeitsspeicher füllen: Prüfen Sie, woher sie stammt. Wenn Sie ihr vertrauen, speichern Sie ihre Zeilen als JSON Lines.</translation>
        </message>
        <message>
            <source>LoRA Studio is free software under the Apache License 2.0.</source>
            <translation>LoRA Studio ist freie Software unter der Apache-Lizenz 2.0.</translation>
        </message>
        <message>
            <source>LoRA Studio keeps the previous engine after an update or repair. Install another engine instead.</source>
            <translation>LoRA Studio behält die vorherige Engine nach einem Update oder einer Reparatur. Installieren Sie stattdessen eine andere Engine.</translation>
        </message>
        <message>
            <source>LoRA Studio no longer uses them. You can delete that folder.</source>
            <translation>LoRA Studio verwendet sie nicht mehr. Sie können den Ordner löschen.</translation>
        </message>
        <message>
            <source>LoRA Studio project</source>
            <translation>LoRA-Studio-Projekt</translation>
        </message>
        <message>
            <source>LoRA Studio ran into an unexpected error: {exception}</source>
            <translation>In LoRA Studio ist ein unerwarteter Fehler aufgetreten: {exception}</translation>
        </message>
        <message>
            <source>LoRA Studio runs jobs in this Python environment. You don't need to set up an engine.</source>
            <translation>LoRA Studio führt Aufträge in dieser Python-Umgebung aus. Sie müssen keine Engine einrichten.</translation>
        </message>
        <message>
            <source>LoRA Studio trains on one label or one written answer for each text. Export annotations of that kind.</source>
            <translation>LoRA Studio trainiert mit einem Label oder einer geschriebenen Antwort je Text. Exportieren Sie solche Annotationen.</translation>
        </message>
        <message>
            <source>LoRA Studio trains on what people have written. You don't have to do anything.</source>
            <translation>LoRA Studio trainiert mit dem, was Menschen geschrieben haben. Sie müssen nichts tun.</translation>
        </message>
        <message>
            <source>LoRA Studio {version}, Python {python_version}</source>
            <translation>LoRA Studio {version}, Python {python_version}</translation>
        </message>
        <message>
            <source>LoRA learns two matrices for each layer. MiSS learns one, which slices of the input share: it keeps no layer inputs in memory and has fewer parameters, but often changes more of what the model already knows. It is saved as a LoRA adapter that gives the same answers.</source>
            <translation>LoRA lernt zwei Matrizen je Schicht. MiSS lernt nur eine, die sich Abschnitte der Eingabe teilen: Es hält keine Schichteingaben im Speicher und hat weniger Parameter, verändert aber oft mehr von dem, was das Modell schon weiß. Gespeichert wird es als LoRA-Adapter, der dieselben Antworten gibt.</translation>
        </message>
        <message>
            <source>LoRA+ ratio</source>
            <translation>LoRA+-Verhältnis</translation>
        </message>
        <message>
            <source>LoRA;QLoRA;LLM;GGUF;Ollama;fine-tuning;training;</source>
            <translation>LoRA;QLoRA;LLM;GGUF;Ollama;Feinabstimmung;Training;Sprachmodell;</translation>
        </message>
        <message>
            <source>Load it with PEFT as a feature extraction model, or choose another adapter. It can be merged and exported, but not used in a chat or trained further.</source>
            <translation>Laden Sie ihn mit PEFT als Modell für Feature Extraction, oder wählen Sie einen anderen Adapter. Er lässt sich zusammenführen und exportieren, aber nicht im Chat verwenden oder weitertrainieren.</translation>
        </message>
        <message>
            <source>Load it with PEFT as a sequence classification model.</source>
            <translation>Laden Sie ihn mit PEFT als Modell zur Sequenzklassifikation.</translation>
        </message>
        <message>
            <source>Loading runs…</source>
            <translation>Läufe werden geladen…</translation>
        </message>
        <message>
            <source>Loading the chat models</source>
            <translation>Chat-Modelle werden geladen</translation>
        </message>
        <message>
            <source>Loading the model</source>
            <translation>Laden des Modells</translation>
        </message>
        <message>
            <source>Loading the prompt…</source>
            <translation>Der Prompt wird geladen…</translation>
        </message>
        <message>
            <source>Loading…</source>
            <translation>Lädt…</translation>
        </message>
        <message>
            <source>Locate {name}</source>
            <translation>{name} suchen</translation>
        </message>
        <message>
            <source>Locate {name}, {state}</source>
            <translation>{name} suchen, {state}</translation>
        </message>
        <message>
            <source>Locate…</source>
            <translation>Suchen…</translation>
        </message>
        <message>
            <source>LoftQ</source>
            <translation>LoftQ</translation>
        </message>
        <message>
            <source>LoftQ compensates for the error of 4-bit weights, but the base model isn't loaded in 4-bit.</source>
            <translation>LoftQ gleicht den Fehler von 4-Bit-Gewichten aus, aber das Basismodell wird nicht in 4 Bit geladen.</translation>
        </message>
        <message>
            <source>LoftQ needs 4-bit weights, and no adapted layer has them.</source>
            <translation>LoftQ braucht 4-Bit-Gewichte, und keine angepasste Schicht hat welche.</translation>
        </message>
        <message>
            <source>LoftQ needs the original weights of {name}, which the model's files don't contain.</source>
            <translation>LoftQ braucht die ursprünglichen Gewichte von {name}; die Dateien des Modells enthalten sie nicht.</translation>
        </message>
        <message>
            <source>Log</source>
            <translation>Protokoll</translation>
        </message>
        <message>
            <source>Log messages appear here.</source>
            <translation>Hier erscheinen Protokollmeldungen.</translation>
        </message>
        <message>
            <source>Log of engine setups.</source>
            <translation>Protokoll der Einrichtungen der Engine.</translation>
        </message>
        <message>
            <source>Log of the window.</source>
            <translation>Protokoll des Fensters.</translation>
        </message>
        <message>
            <source>Log, answers, samples, and notes</source>
            <translation>Protokoll, Antworten, Beispiele und Notizen</translation>
        </message>
        <message>
            <source>Logarithmic</source>
            <translation>Logarithmisch</translation>
        </message>
        <message>
            <source>Logits</source>
            <translation>Logits</translation>
        </message>
        <message>
            <source>Logits are computed for trained tokens only, all at once.</source>
            <translation>Logits werden nur für trainierte Tokens berechnet, alle auf einmal.</translation>
        </message>
        <message>
            <source>Logits are computed for trained tokens only, in chunks.</source>
            <translation>Logits werden nur für trainierte Tokens berechnet, in Abschnitten.</translation>
        </message>
        <message>
            <source>Logs</source>
            <translation>Protokolle</translation>
        </message>
        <message>
            <source>Longer completions are rated lower.</source>
            <translation>Längere Antworten werden schlechter bewertet.</translation>
        </message>
        <message>
            <source>Longer, higher rank, with early stopping</source>
            <translation>Länger, höherer Rang, mit Early Stopping</translation>
        </message>
        <message>
            <source>Longest</source>
            <translation>Längste</translation>
        </message>
        <message>
            <source>Longest answer</source>
            <translation>Längste Antwort</translation>
        </message>
        <message>
            <source>Longest time for one completion.</source>
            <translation>Längste Zeit für eine Antwort.</translation>
        </message>
        <message>
            <source>Looking for Ollama…</source>
            <translation>Ollama wird gesucht…</translation>
        </message>
        <message>
            <source>Looking for adapters</source>
            <translation>Adapter werden gesucht</translation>
        </message>
        <message>
            <source>Looking for devices</source>
            <translation>Geräte werden gesucht</translation>
        </message>
        <message>
            <source>Looking for models</source>
            <translation>Modelle werden gesucht</translation>
        </message>
        <message>
            <source>Looking for runs…</source>
            <translation>Läufe werden gesucht …</translation>
        </message>
        <message>
            <source>Loss</source>
            <translation>Loss</translation>
        </message>
        <message>
            <source>Loss curve</source>
            <translation>Loss-Kurve</translation>
        </message>
        <message>
            <source>Loss only</source>
            <translation>Nur Loss</translation>
        </message>
        <message>
            <source>Losses</source>
            <translation>Niederlagen</translation>
        </message>
        <message>
            <source>Lost characters</source>
            <translation>Verlorene Zeichen</translation>
        </message>
        <message>
            <source>Low memory</source>
            <translation>Wenig Speicher</translation>
        </message>
        <message>
            <source>Lower chart</source>
            <translation>Unteres Diagramm</translation>
        </message>
        <message>
            <source>Lower the learning rate or lengthen the warmup. With float16 precision, bfloat16 helps too. Earlier checkpoints are kept.</source>
            <translation>Verringern Sie die Lernrate oder verlängern Sie das Warmup. Bei float16 hilft auch bfloat16. Frühere Checkpoints bleiben erhalten.</translation>
        </message>
        <message>
            <source>Lowest eval loss: nats per trained token, or as its objective defines it</source>
            <translation>Niedrigster Eval-Loss: Nats je trainiertem Token, oder wie das Trainingsziel ihn definiert</translation>
        </message>
        <message>
            <source>Lowest value</source>
            <translation>Niedrigster Wert</translation>
        </message>
        <message>
            <source>MB</source>
            <translation>MB</translation>
        </message>
        <message>
            <source>MLP</source>
            <translation>MLP</translation>
        </message>
        <message>
            <source>MLP only</source>
            <translation>Nur MLP</translation>
        </message>
        <message>
            <source>MLflow</source>
            <translation>MLflow</translation>
        </message>
        <message>
            <source>MRR</source>
            <translation>MRR</translation>
        </message>
        <message>
            <source>Macro F1</source>
            <translation>Makro-F1</translation>
        </message>
        <message>
            <source>Magnitude pruning</source>
            <translation>Magnitude Pruning</translation>
        </message>
        <message>
            <source>Make a table with a column for what was asked and one for what was answered, and choose that file.</source>
            <translation>Legen Sie eine Tabelle mit einer Spalte für die Fragen und einer für die Antworten an und wählen Sie diese Datei.</translation>
        </message>
        <message>
            <source>Make it private on its Hub page, or choose another repository.</source>
            <translation>Stellen Sie es auf seiner Hub-Seite auf privat oder wählen Sie ein anderes Repository.</translation>
        </message>
        <message>
            <source>Make sure that you have permission to read the folder and that its disk is connected, then resume the training.</source>
            <translation>Stellen Sie sicher, dass Sie den Ordner lesen dürfen und dass der Datenträger angeschlossen ist, und setzen Sie das Training dann fort.</translation>
        </message>
        <message>
            <source>Makes the chosen response more likely per token, whatever its length, and needs no reference model (Meng et al. 2024).</source>
            <translation>Macht die bevorzugte Antwort je Token wahrscheinlicher, unabhängig von ihrer Länge, und braucht kein Referenzmodell (Meng et al. 2024).</translation>
        </message>
        <message>
            <source>Makes tokens that already occurred less likely. 1 turns it off; 1.1 helps small models that repeat themselves.</source>
            <translation>Macht Tokens, die schon vorkamen, weniger wahrscheinlich. 1 schaltet es aus; 1,1 hilft kleinen Modellen, die sich wiederholen.</translation>
        </message>
        <message>
            <source>Map a column with fewer different values to “label”, or choose another format.</source>
            <translation>Ordnen Sie „label“ eine Spalte mit weniger verschiedenen Werten zu, oder wählen Sie ein anderes Format.</translation>
        </message>
        <message>
            <source>Map each field to a column, or to a template such as {question}\n{context}.</source>
            <translation>Ordnen Sie jedem Feld eine Spalte zu oder eine Vorlage wie {question}\n{context}.</translation>
        </message>
        <message>
            <source>Map “speaker” to one of these names: {people}.</source>
            <translation>Ordnen Sie „speaker“ einen dieser Namen zu: {people}.</translation>
        </message>
        <message>
            <source>Mapping</source>
            <translation>Zuordnung</translation>
        </message>
        <message>
            <source>Margin</source>
            <translation>Übergang</translation>
        </message>
        <message>
            <source>Margin (gamma) by which SimPO wants the chosen response to win. Half of SimPO beta is common.</source>
            <translation>Abstand (Gamma), mit dem die bevorzugte Antwort bei SimPO gewinnen soll. Die Hälfte von SimPO-Beta ist üblich.</translation>
        </message>
        <message>
            <source>Mask personal data</source>
            <translation>Persönliche Daten maskieren</translation>
        </message>
        <message>
            <source>Mastodon posts</source>
            <translation>Mastodon-Beiträge</translation>
        </message>
        <message>
            <source>Matches the trained adapter, with some quality loss.</source>
            <translation>Entspricht dem trainierten Adapter, mit etwas Qualitätsverlust.</translation>
        </message>
        <message>
            <source>Matrix products in 32-bit use TF32.</source>
            <translation>Matrixprodukte in 32 Bit werden in TF32 berechnet.</translation>
        </message>
        <message>
            <source>Max. answer length</source>
            <translation>Max. Antwortlänge</translation>
        </message>
        <message>
            <source>Max. completion length</source>
            <translation>Max. Antwortlänge</translation>
        </message>
        <message>
            <source>Max. length</source>
            <translation>Max. Länge</translation>
        </message>
        <message>
            <source>Max. sample length</source>
            <translation>Max. Länge der Beispielantworten</translation>
        </message>
        <message>
            <source>Max. sequence length</source>
            <translation>Max. Sequenzlänge</translation>
        </message>
        <message>
            <source>Max. sequence length {limit}</source>
            <translation>Max. Sequenzlänge {limit}</translation>
        </message>
        <message>
            <source>Max. sequence length {limit} (truncates {share:percent} of the rows)</source>
            <translation>Max. Sequenzlänge {limit} (kürzt {share:percent} der Zeilen)</translation>
        </message>
        <message>
            <source>Max. shard size</source>
            <translation>Max. Größe eines Shards</translation>
        </message>
        <message>
            <source>Max. steps</source>
            <translation>Max. Schritte</translation>
        </message>
        <message>
            <source>Max. time between checkpoints</source>
            <translation>Max. Zeit zwischen Checkpoints</translation>
        </message>
        <message>
            <source>Maximum gradient norm. 0 turns clipping off.</source>
            <translation>Größte erlaubte Gradientennorm. 0 schaltet das Clipping ab.</translation>
        </message>
        <message>
            <source>Maximum number of tokens in a completion during reward training.</source>
            <translation>Maximale Anzahl von Token in einer Antwort, die das Modell beim Training mit Belohnungen schreibt.</translation>
        </message>
        <message>
            <source>Maximum number of tokens in an answer to a sample prompt or to a scored row.</source>
            <translation>Höchstzahl der Tokens in einer Antwort auf einen Beispielprompt oder auf eine bewertete Zeile.</translation>
        </message>
        <message>
            <source>Maximum size of one safetensors file.</source>
            <translation>Höchstgröße einer safetensors-Datei.</translation>
        </message>
        <message>
            <source>Maximum time between two checkpoints, which limits how much work a power cut can cost. 0 saves by steps only.</source>
            <translation>Längste Zeit zwischen zwei Checkpoints. Sie begrenzt, wie viel Arbeit ein Stromausfall kosten kann. Bei 0 wird nur nach Schritten gespeichert.</translation>
        </message>
        <message>
            <source>Mean</source>
            <translation>Mittelwert</translation>
        </message>
        <message>
            <source>Mean F1 of all labels, at the lowest eval loss</source>
            <translation>Mittlerer F1 aller Labels beim niedrigsten Eval-Loss</translation>
        </message>
        <message>
            <source>Mean reciprocal rank of the text to find, at the lowest eval loss</source>
            <translation>Mittlerer Kehrwert des Rangs des gesuchten Textes beim niedrigsten Eval-Loss</translation>
        </message>
        <message>
            <source>Mean reward</source>
            <translation>Mittlere Belohnung</translation>
        </message>
        <message>
            <source>Mean reward fell {first:loss} → {last:loss}.</source>
            <translation>Die mittlere Belohnung sank {first:loss} → {last:loss}.</translation>
        </message>
        <message>
            <source>Mean reward hardly changed ({first:loss} → {last:loss}).</source>
            <translation>Die mittlere Belohnung änderte sich kaum ({first:loss} → {last:loss}).</translation>
        </message>
        <message>
            <source>Mean reward only</source>
            <translation>Nur mittlere Belohnung</translation>
        </message>
        <message>
            <source>Mean reward rose {first:loss} → {last:loss} and leveled off.</source>
            <translation>Die mittlere Belohnung stieg {first:loss} → {last:loss} und flachte dann ab.</translation>
        </message>
        <message>
            <source>Mean reward rose {first:loss} → {last:loss} and was still rising.</source>
            <translation>Die mittlere Belohnung stieg {first:loss} → {last:loss}, auch am Ende noch.</translation>
        </message>
        <message>
            <source>Mean score in the newest evaluation, by its first metric</source>
            <translation>Mittlere Bewertung in der neuesten Auswertung, nach ihrer ersten Metrik</translation>
        </message>
        <message>
            <source>Measures on the training data which weights matter most and quantizes these more precisely. The smallest quantizations require it; from Q6_K up, it makes little difference.</source>
            <translation>Misst an den Trainingsdaten, welche Gewichte am wichtigsten sind, und quantisiert diese genauer. Die kleinsten Quantisierungen brauchen sie; ab Q6_K macht sie kaum einen Unterschied.</translation>
        </message>
        <message>
            <source>Measuring row lengths</source>
            <translation>Zeilenlängen werden gemessen</translation>
        </message>
        <message>
            <source>Measuring row lengths…</source>
            <translation>Zeilenlängen werden gemessen…</translation>
        </message>
        <message>
            <source>Median</source>
            <translation>Median</translation>
        </message>
        <message>
            <source>Memory</source>
            <translation>Speicher</translation>
        </message>
        <message>
            <source>Memory and speed</source>
            <translation>Speicher und Geschwindigkeit</translation>
        </message>
        <message>
            <source>Memory and time</source>
            <translation>Speicher und Zeit</translation>
        </message>
        <message>
            <source>Memory limit</source>
            <translation>Speichergrenze</translation>
        </message>
        <message>
            <source>Memory: not available yet</source>
            <translation>Speicher: noch nicht bekannt</translation>
        </message>
        <message>
            <source>Memory: {parts}; total {total}. {free}</source>
            <translation>Speicher: {parts}; insgesamt {total}. {free}</translation>
        </message>
        <message>
            <source>Merge</source>
            <translation>Zusammenführen</translation>
        </message>
        <message>
            <source>Merge again</source>
            <translation>Erneut zusammenführen</translation>
        </message>
        <message>
            <source>Merge again with {dtype} as the precision of the merged model, then export again.</source>
            <translation>Führen Sie noch einmal mit {dtype} als Genauigkeit des zusammengeführten Modells zusammen und exportieren Sie dann neu.</translation>
        </message>
        <message>
            <source>Merge and Export use this run.</source>
            <translation>„Zusammenführen“ und „Export“ verwenden diesen Lauf.</translation>
        </message>
        <message>
            <source>Merge and export again. Details are in the run's selftest.json.</source>
            <translation>Führen Sie noch einmal zusammen und exportieren Sie neu. Details stehen in selftest.json des Laufs.</translation>
        </message>
        <message>
            <source>Merge consecutive turns of one role</source>
            <translation>Aufeinanderfolgende Beiträge einer Rolle zusammenfassen</translation>
        </message>
        <message>
            <source>Merge first.</source>
            <translation>Führen Sie zuerst zusammen.</translation>
        </message>
        <message>
            <source>Merge into</source>
            <translation>Zusammenführen mit</translation>
        </message>
        <message>
            <source>Merge it alone.</source>
            <translation>Führen Sie ihn allein zusammen.</translation>
        </message>
        <message>
            <source>Merge it into the base model instead, alone or after others.</source>
            <translation>Führen Sie ihn stattdessen mit dem Basismodell zusammen, allein oder nach anderen.</translation>
        </message>
        <message>
            <source>Merge it into the base model. The merged model can be exported and used anywhere.</source>
            <translation>Führen Sie ihn mit dem Basismodell zusammen. Das zusammengeführte Modell lässt sich exportieren und überall verwenden.</translation>
        </message>
        <message>
            <source>Merge it, and train on the merged model.</source>
            <translation>Führen Sie ihn mit dem Basismodell zusammen und trainieren Sie auf dem Ergebnis.</translation>
        </message>
        <message>
            <source>Merge only one of them.</source>
            <translation>Führen Sie nur einen davon zusammen.</translation>
        </message>
        <message>
            <source>Merge or export first.</source>
            <translation>Führen Sie zuerst zusammen oder exportieren Sie.</translation>
        </message>
        <message>
            <source>Merge the adapter again.</source>
            <translation>Führen Sie den Adapter erneut mit dem Basismodell zusammen.</translation>
        </message>
        <message>
            <source>Merge the adapter first, or choose another model.</source>
            <translation>Führen Sie zuerst den Adapter zusammen, oder wählen Sie ein anderes Modell.</translation>
        </message>
        <message>
            <source>Merge the adapter first, or export directly from base model and adapter.</source>
            <translation>Führen Sie den Adapter zuerst zusammen oder exportieren Sie direkt aus Basismodell und Adapter.</translation>
        </message>
        <message>
            <source>Merge the adapter first.</source>
            <translation>Führen Sie zuerst den Adapter zusammen.</translation>
        </message>
        <message>
            <source>Merge, Export, and the curves on Train now use this run.</source>
            <translation>Zusammenführen, Export und die Kurven unter Training verwenden jetzt diesen Lauf.</translation>
        </message>
        <message>
            <source>Merged</source>
            <translation>Zusammengeführt</translation>
        </message>
        <message>
            <source>Merged model</source>
            <translation>Zusammengeführtes Modell</translation>
        </message>
        <message>
            <source>Merged model, or base model + adapter if rounding changed it</source>
            <translation>Zusammengeführtes Modell oder, wenn das Runden es verändert hat, Basismodell + Adapter</translation>
        </message>
        <message>
            <source>Merges the adapter weights into the base model. The result is a standalone Hugging Face model with its tokenizer and chat template.</source>
            <translation>Führt die Adaptergewichte mit dem Basismodell zusammen. Das Ergebnis ist ein eigenständiges Hugging-Face-Modell mit Tokenizer und Chat-Vorlage.</translation>
        </message>
        <message>
            <source>Merging</source>
            <translation>Zusammenführen</translation>
        </message>
        <message>
            <source>Merging adapters</source>
            <translation>Adapter werden zusammengeführt</translation>
        </message>
        <message>
            <source>Merging adds the adapter's weights to a full copy of its base model. The adapter must belong to that base model, and the disk needs space for the copy.</source>
            <translation>Beim Zusammenführen werden die Gewichte des Adapters zu einer vollständigen Kopie seines Basismodells addiert. Der Adapter muss zu diesem Basismodell gehören, und auf der Festplatte muss Platz für die Kopie sein.</translation>
        </message>
        <message>
            <source>Merging canceled</source>
            <translation>Zusammenführen abgebrochen</translation>
        </message>
        <message>
            <source>Merging file {number} of {count}</source>
            <translation>Datei {number} von {count} wird zusammengeführt</translation>
        </message>
        <message>
            <source>Merging into the cached 16-bit original: {name}.</source>
            <translation>Zusammengeführt wird mit dem 16-Bit-Original aus dem Cache: {name}.</translation>
        </message>
        <message>
            <source>Merging is running.</source>
            <translation>Das Zusammenführen läuft.</translation>
        </message>
        <message>
            <source>Merging…</source>
            <translation>Wird zusammengeführt…</translation>
        </message>
        <message>
            <source>Message</source>
            <translation>Meldung</translation>
        </message>
        <message>
            <source>Messages</source>
            <translation>Nachrichten</translation>
        </message>
        <message>
            <source>Messages (role, content)</source>
            <translation>Nachrichten (role, content)</translation>
        </message>
        <message>
            <source>Messenger or Instagram chat</source>
            <translation>Messenger- oder Instagram-Chat</translation>
        </message>
        <message>
            <source>Metric</source>
            <translation>Metrik</translation>
        </message>
        <message>
            <source>Metric to plot for the selected runs</source>
            <translation>Dargestellte Größe der ausgewählten Läufe</translation>
        </message>
        <message>
            <source>Metric with a parameter</source>
            <translation>Metrik mit Parameter</translation>
        </message>
        <message>
            <source>Metrics</source>
            <translation>Metriken</translation>
        </message>
        <message>
            <source>MiSS</source>
            <translation>MiSS</translation>
        </message>
        <message>
            <source>MiSS can't adapt {name}: it isn't a plain linear layer.</source>
            <translation>MiSS kann {name} nicht anpassen: Das ist keine einfache lineare Schicht.</translation>
        </message>
        <message>
            <source>MiSS can't train new tokens.</source>
            <translation>MiSS kann keine neuen Token trainieren.</translation>
        </message>
        <message>
            <source>MiSS doesn't support this setting: {setting}.</source>
            <translation>MiSS unterstützt diese Einstellung nicht: {setting}.</translation>
        </message>
        <message>
            <source>Micro-batch size</source>
            <translation>Größe des Mikro-Batches</translation>
        </message>
        <message>
            <source>Micro-batch {size} × accumulation {accumulation}</source>
            <translation>Mikro-Batch {size} × Akkumulation {accumulation}</translation>
        </message>
        <message>
            <source>Micro-batches accumulated before each optimizer step. Effective batch size = micro-batch size × gradient accumulation.</source>
            <translation>Mikro-Batches, deren Gradienten vor jedem Optimizer-Schritt summiert werden. Effektive Batch-Größe = Mikro-Batch × Gradientenakkumulation.</translation>
        </message>
        <message>
            <source>Min-p</source>
            <translation>Min-p</translation>
        </message>
        <message>
            <source>Min. improvement</source>
            <translation>Min. Verbesserung</translation>
        </message>
        <message>
            <source>Min. learning rate</source>
            <translation>Min. Lernrate</translation>
        </message>
        <message>
            <source>Min. length</source>
            <translation>Min. Länge</translation>
        </message>
        <message>
            <source>Minimum decrease of the eval loss in nats, or increase of the score, that counts.</source>
            <translation>Kleinste Abnahme des Eval-Loss in Nats oder Zunahme der Bewertung, die als Verbesserung zählt.</translation>
        </message>
        <message>
            <source>Mistral</source>
            <translation>Mistral</translation>
        </message>
        <message>
            <source>Model</source>
            <translation>Modell</translation>
        </message>
        <message>
            <source>Model card</source>
            <translation>Modellkarte</translation>
        </message>
        <message>
            <source>Model code</source>
            <translation>Code eines Modells</translation>
        </message>
        <message>
            <source>Model download</source>
            <translation>Download von Modellen</translation>
        </message>
        <message>
            <source>Model folder…</source>
            <translation>Modellordner …</translation>
        </message>
        <message>
            <source>Model name</source>
            <translation>Modellname</translation>
        </message>
        <message>
            <source>Model on a server…</source>
            <translation>Modell auf einem Server …</translation>
        </message>
        <message>
            <source>Model search</source>
            <translation>Modellsuche</translation>
        </message>
        <message>
            <source>Model to serve</source>
            <translation>Bereitzustellendes Modell</translation>
        </message>
        <message>
            <source>Model: {name}</source>
            <translation>Modell: {name}</translation>
        </message>
        <message>
            <source>Models</source>
            <translation>Modelle</translation>
        </message>
        <message>
            <source>Models and checkpoints are large. Free up space on that disk or choose another folder. Complete files are not affected.</source>
            <translation>Modelle und Checkpoints sind groß. Schaffen Sie Platz auf diesem Laufwerk oder wählen Sie einen anderen Ordner. Vollständige Dateien sind nicht betroffen.</translation>
        </message>
        <message>
            <source>Models in Ollama</source>
            <translation>Modelle in Ollama</translation>
        </message>
        <message>
            <source>Module names</source>
            <translation>Modulnamen</translation>
        </message>
        <message>
            <source>Modules trained in full</source>
            <translation>Vollständig trainierte Module</translation>
        </message>
        <message>
            <source>More</source>
            <translation>Mehr</translation>
        </message>
        <message>
            <source>Most downloaded</source>
            <translation>Am meisten geladen</translation>
        </message>
        <message>
            <source>Most liked</source>
            <translation>Am beliebtesten</translation>
        </message>
        <message>
            <source>Most likely cause: {cause}.</source>
            <translation>Wahrscheinlichste Ursache: {cause}.</translation>
        </message>
        <message>
            <source>Most likely choice: {choice}</source>
            <translation>Wahrscheinlichste Antwort: {choice}</translation>
        </message>
        <message>
            <source>Most memory that the function may use.</source>
            <translation>Arbeitsspeicher, den die Funktion höchstens belegen darf.</translation>
        </message>
        <message>
            <source>Most of {name} is not text.</source>
            <translation>{name} besteht größtenteils nicht aus Text.</translation>
        </message>
        <message>
            <source>Most tasks (start here)</source>
            <translation>Die meisten Aufgaben</translation>
        </message>
        <message>
            <source>Most tasks on 8 GB of GPU memory. Many languages.</source>
            <translation>Die meisten Aufgaben mit 8 GB Grafikspeicher. Viele Sprachen.</translation>
        </message>
        <message>
            <source>Most templates finish within a moment. Check the source of this one.</source>
            <translation>Die meisten Vorlagen sind sofort fertig. Prüfen Sie, woher diese stammt.</translation>
        </message>
        <message>
            <source>Move down (Alt+Down)</source>
            <translation>Nach unten (Alt+Ab)</translation>
        </message>
        <message>
            <source>Move the file to another folder to start counting again.</source>
            <translation>Verschieben Sie die Datei in einen anderen Ordner, um neu zu zählen.</translation>
        </message>
        <message>
            <source>Move the project to a disk without that limit (FAT32 allows 4 GB per file), or raise your account's file size limit. Complete files are unchanged.</source>
            <translation>Verschieben Sie das Projekt auf einen Datenträger ohne diese Grenze (FAT32 erlaubt 4 GB pro Datei) oder erhöhen Sie das Dateigrößenlimit Ihres Kontos. Fertige Dateien sind unverändert.</translation>
        </message>
        <message>
            <source>Move the project to a disk without that limit, or raise your account's limit on file sizes, then resume: training continues from step {step:d}.</source>
            <translation>Verschieben Sie das Projekt auf einen Datenträger ohne diese Grenze, oder erhöhen Sie die Grenze Ihres Kontos für Dateigrößen, und setzen Sie dann fort: Das Training läuft ab Schritt {step:d} weiter.</translation>
        </message>
        <message>
            <source>Move this conversation to the trash</source>
            <translation>Diese Unterhaltung in den Papierkorb verschieben</translation>
        </message>
        <message>
            <source>Move up (Alt+Up)</source>
            <translation>Nach oben (Alt+Auf)</translation>
        </message>
        <message numerus="yes">
            <source>Moved the checkpoints of {n} runs to the trash.</source>
            <translation>
                <numerusform>Die Checkpoints von {n} Lauf wurden in den Papierkorb verschoben.</numerusform>
                <numerusform>Die Checkpoints von {n} Läufen wurden in den Papierkorb verschoben.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>Moved {n} runs to the trash.</source>
            <translation>
                <numerusform>{n} Lauf wurde in den Papierkorb verschoben.</numerusform>
                <numerusform>{n} Läufe wurden in den Papierkorb verschoben.</numerusform>
            </translation>
        </message>
        <message>
            <source>Moves runs, or only their checkpoints, to the trash</source>
            <translation>Verschiebt Läufe oder nur ihre Checkpoints in den Papierkorb</translation>
        </message>
        <message>
            <source>Move…</source>
            <translation>Verschieben…</translation>
        </message>
        <message>
            <source>Moving</source>
            <translation>Verschieben</translation>
        </message>
        <message>
            <source>Multiple choice</source>
            <translation>Multiple Choice</translation>
        </message>
        <message>
            <source>Multiple choice, length-normalized</source>
            <translation>Multiple Choice, längennormiert</translation>
        </message>
        <message>
            <source>NEFTune noise</source>
            <translation>NEFTune-Rauschen</translation>
        </message>
        <message>
            <source>NF4</source>
            <translation>NF4</translation>
        </message>
        <message>
            <source>NF4 suits normally distributed weights, which model weights are. FP4 is plain 4-bit floating point. Only used with 4-bit precision.</source>
            <translation>NF4 eignet sich für normalverteilte Gewichte, wie Modelle sie haben. FP4 ist einfache 4-Bit-Gleitkommadarstellung. Nur bei 4-Bit-Genauigkeit.</translation>
        </message>
        <message>
            <source>NVIDIA GPU (CUDA)</source>
            <translation>NVIDIA-GPU (CUDA)</translation>
        </message>
        <message>
            <source>NaN and Infinity, which JSON doesn't allow, are read as missing values</source>
            <translation>NaN und Infinity, die JSON nicht erlaubt, werden als fehlende Werte gelesen</translation>
        </message>
        <message>
            <source>Name</source>
            <translation>Name</translation>
        </message>
        <message>
            <source>Name of the copy</source>
            <translation>Name der Kopie</translation>
        </message>
        <message>
            <source>Name of the judge on the server.</source>
            <translation>Name des Bewertungsmodells auf dem Server.</translation>
        </message>
        <message>
            <source>Name of the new adapter</source>
            <translation>Name des neuen Adapters</translation>
        </message>
        <message>
            <source>Name one of its columns with --column: {columns}.</source>
            <translation>Nennen Sie eine ihrer Spalten mit --column: {columns}.</translation>
        </message>
        <message>
            <source>Name or organization</source>
            <translation>Name oder Organisation</translation>
        </message>
        <message>
            <source>Names of modules to train in full and save with the adapter, such as lm_head or embed_tokens. They need as much memory as in full fine-tuning.</source>
            <translation>Namen von Modulen, die vollständig trainiert und mit dem Adapter gespeichert werden, etwa lm_head oder embed_tokens. Sie brauchen so viel Speicher wie beim vollständigen Fine-Tuning.</translation>
        </message>
        <message>
            <source>Names of the linear layers to adapt, such as q_proj or down_proj. Only used if the target modules are set to By name.</source>
            <translation>Namen der linearen Schichten, die angepasst werden, etwa q_proj oder down_proj. Nur verwendet, wenn die Zielmodule auf „Nach Namen“ stehen.</translation>
        </message>
        <message>
            <source>Names of the tags, in the order in which the completion has to use them.</source>
            <translation>Namen der Tags in der Reihenfolge, in der die Antwort sie verwenden muss.</translation>
        </message>
        <message>
            <source>Near-duplicate rows</source>
            <translation>Fast doppelte Zeilen</translation>
        </message>
        <message>
            <source>Needs about {total}.</source>
            <translation>Benötigt etwa {total}.</translation>
        </message>
        <message>
            <source>Neither the adapter nor its base model says what its labels are called. They are named {first} to {last}.</source>
            <translation>Weder der Adapter noch sein Basismodell gibt an, wie die Labels heißen. Sie heißen jetzt {first} bis {last}.</translation>
        </message>
        <message>
            <source>Network</source>
            <translation>Netzwerk</translation>
        </message>
        <message>
            <source>New chat</source>
            <translation>Neuer Chat</translation>
        </message>
        <message>
            <source>New evaluation</source>
            <translation>Neue Auswertung</translation>
        </message>
        <message>
            <source>New project</source>
            <translation>Neues Projekt</translation>
        </message>
        <message>
            <source>New projects</source>
            <translation>Neue Projekte</translation>
        </message>
        <message>
            <source>New project…</source>
            <translation>Neues Projekt…</translation>
        </message>
        <message>
            <source>New tokens</source>
            <translation>Neue Token</translation>
        </message>
        <message>
            <source>New tokens can't be added to an existing adapter.</source>
            <translation>Zu einem bestehenden Adapter können keine neuen Token hinzugefügt werden.</translation>
        </message>
        <message>
            <source>New tokens can't be combined with embeddings or an output layer that are trained in full.</source>
            <translation>Neue Token lassen sich nicht mit vollständig trainierten Einbettungen oder einer vollständig trainierten Ausgabeschicht kombinieren.</translation>
        </message>
        <message>
            <source>New tokens can't be trained while the weights are sharded across devices.</source>
            <translation>Neue Token können nicht trainiert werden, wenn die Gewichte auf mehrere Geräte aufgeteilt sind.</translation>
        </message>
        <message>
            <source>Next</source>
            <translation>Weiter</translation>
        </message>
        <message>
            <source>Next answer</source>
            <translation>Nächste Antwort</translation>
        </message>
        <message>
            <source>Next step</source>
            <translation>Nächster Schritt</translation>
        </message>
        <message>
            <source>No C++ compiler is installed (`sudo apt install g++`). With one, training on this CPU is faster.</source>
            <translation>Es ist kein C++-Compiler installiert (`sudo apt install g++`). Mit einem ist das Training auf dieser CPU schneller.</translation>
        </message>
        <message>
            <source>No GPU that PyTorch supports. Training runs on the CPU ({name}).</source>
            <translation>Keine GPU, die PyTorch unterstützt. Das Training läuft auf der CPU ({name}).</translation>
        </message>
        <message>
            <source>No Modelfile and no Ollama model were created. The tokenizer in the GGUF file differs from the model's own; a newer llama.cpp may convert it correctly.</source>
            <translation>Es wurden kein Modelfile und kein Ollama-Modell erstellt. Der Tokenizer in der GGUF-Datei weicht von dem des Modells ab; ein neueres llama.cpp konvertiert ihn vielleicht richtig.</translation>
        </message>
        <message>
            <source>No Modelfile was written. The GGUF file is complete and contains the chat template, which Ollama 0.30 and later, LM Studio, and llama.cpp use.</source>
            <translation>Es wurde kein Modelfile geschrieben. Die GGUF-Datei ist vollständig und enthält die Chat-Vorlage, die Ollama ab 0.30, LM Studio und llama.cpp verwenden.</translation>
        </message>
        <message>
            <source>No Ollama or LM Studio model on this computer can be used as a base model.</source>
            <translation>Kein Modell von Ollama oder LM Studio auf diesem Computer eignet sich als Basismodell.</translation>
        </message>
        <message>
            <source>No Ollama server answers at {host}.</source>
            <translation>Unter {host} antwortet kein Ollama-Server.</translation>
        </message>
        <message>
            <source>No adapter selected</source>
            <translation>Kein Adapter ausgewählt</translation>
        </message>
        <message>
            <source>No adapters yet. Train one, or add a folder that contains adapters.</source>
            <translation>Noch keine Adapter. Trainieren Sie einen, oder fügen Sie einen Ordner mit Adaptern hinzu.</translation>
        </message>
        <message>
            <source>No answer</source>
            <translation>Keine Antwort</translation>
        </message>
        <message>
            <source>No benchmark has all these words.</source>
            <translation>Kein Benchmark enthält alle diese Wörter.</translation>
        </message>
        <message>
            <source>No browser</source>
            <translation>Kein Browser</translation>
        </message>
        <message>
            <source>No cached models yet. Models that you or other tools download from the Hub appear here.</source>
            <translation>Noch keine Modelle im Cache. Modelle, die Sie oder andere Programme vom Hub herunterladen, erscheinen hier.</translation>
        </message>
        <message>
            <source>No chat template was found in {path}.</source>
            <translation>In {path} wurde keine Chat-Vorlage gefunden.</translation>
        </message>
        <message>
            <source>No code of models or projects is allowed to run.</source>
            <translation>Kein Code von Modellen oder Projekten darf ausgeführt werden.</translation>
        </message>
        <message>
            <source>No column contains the prompt. The text that both answers start with is used as the prompt.</source>
            <translation>Keine Spalte enthält den Prompt. Als Prompt wird der Text verwendet, mit dem beide Antworten beginnen.</translation>
        </message>
        <message>
            <source>No column is mapped to {slots} of “{format}”.</source>
            <translation>{slots} von „{format}“ ist keine Spalte zugeordnet.</translation>
        </message>
        <message>
            <source>No comparison has a result</source>
            <translation>Kein Vergleich hat ein Ergebnis</translation>
        </message>
        <message>
            <source>No compatible Python was found; {name} is downloaded.</source>
            <translation>Es wurde kein passendes Python gefunden; {name} wird heruntergeladen.</translation>
        </message>
        <message>
            <source>No compatible set of packages was found: {reason}</source>
            <translation>Es wurde keine zueinander passende Paketauswahl gefunden: {reason}</translation>
        </message>
        <message>
            <source>No completion of a step has a reward, so the model learns nothing from the step.</source>
            <translation>Keine Antwort eines Schritts hat eine Belohnung; aus dem Schritt lernt das Modell deshalb nichts.</translation>
        </message>
        <message>
            <source>No conversation has the 16 tokens that an importance matrix needs.</source>
            <translation>Kein Gespräch hat die 16 Tokens, die eine Importance-Matrix braucht.</translation>
        </message>
        <message>
            <source>No conversations were held out of training, so there is nothing to test on.</source>
            <translation>Beim Training wurden keine Gespräche zurückgehalten, daher kann nichts getestet werden.</translation>
        </message>
        <message>
            <source>No conversations yet</source>
            <translation>Noch keine Unterhaltungen</translation>
        </message>
        <message>
            <source>No dataset selected.</source>
            <translation>Kein Datensatz ausgewählt.</translation>
        </message>
        <message>
            <source>No details available.</source>
            <translation>Keine Details verfügbar.</translation>
        </message>
        <message>
            <source>No difference</source>
            <translation>Kein Unterschied</translation>
        </message>
        <message>
            <source>No difference shown ({before} → {after})</source>
            <translation>Kein Unterschied nachweisbar ({before} → {after})</translation>
        </message>
        <message>
            <source>No difference shown ({before} → {after}); {rows} rows would be needed</source>
            <translation>Kein Unterschied nachweisbar ({before} → {after}); dafür wären {rows} Zeilen nötig</translation>
        </message>
        <message>
            <source>No disk is mounted at {folder}.</source>
            <translation>Unter {folder} ist kein Datenträger eingehängt.</translation>
        </message>
        <message>
            <source>No disk is mounted at {folder}. Connect and mount the disk, or choose another folder.</source>
            <translation>Unter {folder} ist kein Datenträger eingehängt. Schließen Sie ihn an und hängen Sie ihn ein, oder wählen Sie einen anderen Ordner.</translation>
        </message>
        <message>
            <source>No dropout: fastest, and a good default for most datasets.</source>
            <translation>Kein Dropout: am schnellsten und für die meisten Datensätze richtig.</translation>
        </message>
        <message>
            <source>No engine is active.</source>
            <translation>Keine Engine ist aktiv.</translation>
        </message>
        <message>
            <source>No engine is installed.</source>
            <translation>Keine Engine ist installiert.</translation>
        </message>
        <message>
            <source>No engine is installed. Set one up in {folder}.</source>
            <translation>Keine Engine ist installiert. Richten Sie eine in {folder} ein.</translation>
        </message>
        <message numerus="yes">
            <source>No forgetting shown; {n} items can show a loss of about {smallest} points</source>
            <translation>
                <numerusform>Kein Vergessen nachweisbar</numerusform>
                <numerusform>Kein Vergessen nachweisbar; {n} Aufgaben können einen Verlust von etwa {smallest} Punkten zeigen</numerusform>
            </translation>
        </message>
        <message>
            <source>No format has all of {slots}.</source>
            <translation>Kein Format hat alle diese Felder: {slots}.</translation>
        </message>
        <message>
            <source>No host was contacted since this window opened.</source>
            <translation>Seit dieses Fenster geöffnet ist, wurde kein Host kontaktiert.</translation>
        </message>
        <message>
            <source>No model is chosen.</source>
            <translation>Kein Modell ist gewählt.</translation>
        </message>
        <message>
            <source>No model selected.</source>
            <translation>Kein Modell ausgewählt.</translation>
        </message>
        <message>
            <source>No model to chat with yet</source>
            <translation>Noch kein Modell zum Chatten</translation>
        </message>
        <message>
            <source>No models found on the Hub.</source>
            <translation>Auf dem Hub wurden keine Modelle gefunden.</translation>
        </message>
        <message>
            <source>No other run has this base model</source>
            <translation>Kein anderer Lauf hat dieses Basismodell</translation>
        </message>
        <message>
            <source>No parameters of {architecture} would be trained. {reason}</source>
            <translation>Bei {architecture} würde kein Parameter trainiert. {reason}</translation>
        </message>
        <message>
            <source>No program to open it</source>
            <translation>Kein Programm zum Öffnen</translation>
        </message>
        <message>
            <source>No project</source>
            <translation>Kein Projekt</translation>
        </message>
        <message>
            <source>No project was found at {path}.</source>
            <translation>Unter {path} wurde kein Projekt gefunden.</translation>
        </message>
        <message>
            <source>No projects yet</source>
            <translation>Noch keine Projekte</translation>
        </message>
        <message>
            <source>No results for “{query}”. Try a different search.</source>
            <translation>Keine Ergebnisse für „{query}“. Versuchen Sie eine andere Suche.</translation>
        </message>
        <message>
            <source>No row contains these parts of {name}: {parts}.</source>
            <translation>Diese Teile von {name} stehen in keiner Zeile: {parts}.</translation>
        </message>
        <message>
            <source>No rows yet</source>
            <translation>Noch keine Zeilen</translation>
        </message>
        <message>
            <source>No run in this grid search has been evaluated yet.</source>
            <translation>Noch kein Lauf dieser Rastersuche wurde ausgewertet.</translation>
        </message>
        <message>
            <source>No runs yet</source>
            <translation>Noch keine Läufe</translation>
        </message>
        <message>
            <source>No sample answers were generated: the model computed NaN or infinite values.</source>
            <translation>Es wurden keine Beispielantworten erzeugt: Das Modell hat NaN oder unendliche Werte berechnet.</translation>
        </message>
        <message>
            <source>No standalone Python {series} is available for this system.</source>
            <translation>Für dieses System ist kein eigenständiges Python {series} verfügbar.</translation>
        </message>
        <message>
            <source>No standalone Python {series} is available for {platform}.</source>
            <translation>Für {platform} ist kein eigenständiges Python {series} verfügbar.</translation>
        </message>
        <message>
            <source>No steps completed yet. Resume to start from the beginning.</source>
            <translation>Noch kein Schritt abgeschlossen. Beim Fortsetzen beginnt das Training von vorn.</translation>
        </message>
        <message>
            <source>No steps yet.</source>
            <translation>Noch keine Schritte.</translation>
        </message>
        <message>
            <source>No target module is specified.</source>
            <translation>Es ist kein Zielmodul angegeben.</translation>
        </message>
        <message>
            <source>No target modules are specified, so there is nothing to train.</source>
            <translation>Es sind keine Zielmodule angegeben, also gibt es nichts zu trainieren.</translation>
        </message>
        <message>
            <source>No token was given.</source>
            <translation>Es wurde kein Token angegeben.</translation>
        </message>
        <message>
            <source>No tokens to show.</source>
            <translation>Keine Tokens vorhanden.</translation>
        </message>
        <message>
            <source>No trainable parameters: this model has none of the selected layers.</source>
            <translation>Keine trainierbaren Parameter: Dieses Modell hat keine der ausgewählten Schichten.</translation>
        </message>
        <message>
            <source>No training is running.</source>
            <translation>Es läuft kein Training.</translation>
        </message>
        <message>
            <source>No training row has these labels: {labels} ({rows} for validation or too long). The classifier can't learn them.</source>
            <translation>Keine Trainingszeile hat diese Labels: {labels} ({rows} zur Validierung oder zu lang). Der Klassifikator kann sie nicht lernen.</translation>
        </message>
        <message>
            <source>No usable rows found. {evidence}</source>
            <translation>Keine verwendbaren Zeilen gefunden. {evidence}</translation>
        </message>
        <message>
            <source>No validation row has these labels: {labels} ({rows} for training). The evaluation can't show how well they are predicted.</source>
            <translation>Keine Validierungszeile hat diese Labels: {labels} ({rows} zum Training). Die Auswertung kann nicht zeigen, wie gut sie vorhergesagt werden.</translation>
        </message>
        <message>
            <source>No verdict</source>
            <translation>Ohne Urteil</translation>
        </message>
        <message>
            <source>Noise and seed</source>
            <translation>Rauschen und Seed</translation>
        </message>
        <message>
            <source>Non-default only</source>
            <translation>Nur Abweichungen</translation>
        </message>
        <message>
            <source>None</source>
            <translation>Keine</translation>
        </message>
        <message>
            <source>None of the rows checked can be used as “{format}”: {reason}.</source>
            <translation>Keine der geprüften Zeilen lässt sich als „{format}“ verwenden: {reason}.</translation>
        </message>
        <message numerus="yes">
            <source>None of the {n} models found fit on this device.</source>
            <translation>
                <numerusform>Das einzige gefundene Modell passt nicht auf dieses Gerät.</numerusform>
                <numerusform>Keines der {n} gefundenen Modelle passt auf dieses Gerät.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>None of the {n} rows can be trained on: {reasons}.</source>
            <translation>
                <numerusform>Mit der einzigen Zeile kann nicht trainiert werden: {reasons}.</numerusform>
                <numerusform>Mit keiner der {n} Zeilen kann trainiert werden: {reasons}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>None of the {n} rows of {name} can be read. Row {row:d}: {reason}.</source>
            <translation>
                <numerusform>Die einzige Zeile von {name} kann nicht gelesen werden. Zeile {row:d}: {reason}.</numerusform>
                <numerusform>Keine der {n} Zeilen von {name} kann gelesen werden. Zeile {row:d}: {reason}.</numerusform>
            </translation>
        </message>
        <message>
            <source>Norwegian</source>
            <translation>Norwegisch</translation>
        </message>
        <message>
            <source>Not all rows were read</source>
            <translation>Nicht alle Zeilen wurden gelesen</translation>
        </message>
        <message>
            <source>Not checked</source>
            <translation>Nicht geprüft</translation>
        </message>
        <message>
            <source>Not compatible with the project's model. {reason}</source>
            <translation>Passt nicht zum Modell des Projekts. {reason}</translation>
        </message>
        <message>
            <source>Not enough disk space. Free up some space, or choose another folder.</source>
            <translation>Nicht genug Speicherplatz. Geben Sie Speicherplatz frei, oder wählen Sie einen anderen Ordner.</translation>
        </message>
        <message>
            <source>Not found</source>
            <translation>Nicht gefunden</translation>
        </message>
        <message>
            <source>Not found: it was moved or renamed, or its drive isn't connected</source>
            <translation>Nicht gefunden: verschoben, umbenannt oder auf einem nicht verbundenen Laufwerk</translation>
        </message>
        <message>
            <source>Not read yet.</source>
            <translation>Noch nicht gelesen.</translation>
        </message>
        <message>
            <source>Not signed in. Only gated and private models need it.</source>
            <translation>Nicht angemeldet. Nur für geschützte und private Modelle nötig.</translation>
        </message>
        <message>
            <source>Not started</source>
            <translation>Nicht gestartet</translation>
        </message>
        <message>
            <source>Not supported</source>
            <translation>Nicht unterstützt</translation>
        </message>
        <message>
            <source>Not used: only supervised training learns from a teacher.</source>
            <translation>Nicht verwendet: Nur überwachtes Training lernt von einem Lehrer.</translation>
        </message>
        <message>
            <source>Not used: your data has neither response pairs nor labeled responses.</source>
            <translation>Nicht verwendet: Ihre Daten enthalten weder Antwortpaare noch bewertete Antworten.</translation>
        </message>
        <message>
            <source>Not used: your data has no pairs for search.</source>
            <translation>Nicht verwendet: Ihre Daten enthalten keine Paare für die Suche.</translation>
        </message>
        <message>
            <source>Not used: your data has no pairs of chosen and rejected responses.</source>
            <translation>Nicht verwendet: Ihre Daten enthalten keine Paare aus bevorzugter und abgelehnter Antwort.</translation>
        </message>
        <message>
            <source>Not used: your data has no prompts for rewards.</source>
            <translation>Nicht verwendet: Ihre Daten enthalten keine Prompts für Belohnungen.</translation>
        </message>
        <message>
            <source>Not used: your data has no texts with labels.</source>
            <translation>Nicht verwendet: Ihre Daten haben keine Texte mit Labels.</translation>
        </message>
        <message>
            <source>Not used: {optimizer} doesn't need a learning rate schedule.</source>
            <translation>Nicht verwendet: {optimizer} braucht keinen Lernratenplan.</translation>
        </message>
        <message>
            <source>Note</source>
            <translation>Notiz</translation>
        </message>
        <message>
            <source>Notes</source>
            <translation>Notizen</translation>
        </message>
        <message>
            <source>Notes on this run</source>
            <translation>Notizen zu diesem Lauf</translation>
        </message>
        <message>
            <source>Nothing outside</source>
            <translation>Nichts außerhalb</translation>
        </message>
        <message>
            <source>Nothing to compare yet</source>
            <translation>Noch nichts zu vergleichen</translation>
        </message>
        <message>
            <source>Nothing to evaluate was specified.</source>
            <translation>Es ist nichts zum Auswerten angegeben.</translation>
        </message>
        <message>
            <source>Nothing to evaluate yet</source>
            <translation>Noch nichts auszuwerten</translation>
        </message>
        <message>
            <source>Nothing to export yet</source>
            <translation>Noch nichts zu exportieren</translation>
        </message>
        <message>
            <source>Nothing to merge yet</source>
            <translation>Noch nichts zusammenzuführen</translation>
        </message>
        <message>
            <source>Nothing to show.</source>
            <translation>Nichts anzuzeigen.</translation>
        </message>
        <message>
            <source>Nothing to train</source>
            <translation>Nichts zu trainieren</translation>
        </message>
        <message>
            <source>Nothing to upload yet.</source>
            <translation>Es gibt noch nichts hochzuladen.</translation>
        </message>
        <message>
            <source>Number</source>
            <translation>Zahl</translation>
        </message>
        <message>
            <source>Number of passes over the dataset.</source>
            <translation>Anzahl der Durchläufe durch den Datensatz.</translation>
        </message>
        <message>
            <source>Number of rows to hold out instead of a share. 0 uses the share.</source>
            <translation>Anzahl der zurückgehaltenen Zeilen statt eines Anteils. 0 verwendet den Anteil.</translation>
        </message>
        <message>
            <source>Number of the teacher's most likely tokens that are compared one by one at each position. All others count as one token. 32 to 64 is common at a temperature of 1; higher temperatures need more. Disk use grows with it.</source>
            <translation>Wie viele der wahrscheinlichsten Token des Lehrers an jeder Stelle einzeln verglichen werden. Alle übrigen zählen als ein Token. Üblich sind 32 bis 64 bei einer Temperatur von 1; höhere Temperaturen brauchen mehr. Der Speicherplatz wächst damit.</translation>
        </message>
        <message>
            <source>Number of validation rows whose answers are scored, if answers decide.</source>
            <translation>Anzahl der Validierungszeilen, deren Antworten bewertet werden, falls die Antworten entscheiden.</translation>
        </message>
        <message>
            <source>Number of validation rows whose prompts are answered as well. 0 for none.</source>
            <translation>Anzahl der Validierungszeilen, deren Prompts zusätzlich beantwortet werden. 0 für keine.</translation>
        </message>
        <message>
            <source>Number of weight updates with the same completions before new ones are generated. 1 is steadiest; more save time when generating completions is slow.</source>
            <translation>Anzahl der Gewichts-Updates mit denselben Antworten, bevor neue geschrieben werden. 1 ist am stabilsten; mehr sparen Zeit, wenn das Schreiben der Antworten langsam ist.</translation>
        </message>
        <message>
            <source>OLoRA</source>
            <translation>OLoRA</translation>
        </message>
        <message>
            <source>ORPO</source>
            <translation>ORPO</translation>
        </message>
        <message>
            <source>Off</source>
            <translation>Aus</translation>
        </message>
        <message>
            <source>Offline mode</source>
            <translation>Offline-Modus</translation>
        </message>
        <message>
            <source>Offline mode is on, and the dataset {dataset} of the benchmark {task} is not on this computer.</source>
            <translation>Der Offline-Modus ist an, und der Datensatz {dataset} des Benchmarks {task} ist nicht auf diesem Computer.</translation>
        </message>
        <message>
            <source>Offline mode is on, and {repository} is not complete on this computer.</source>
            <translation>Der Offline-Modus ist an, und {repository} ist auf diesem Computer nicht vollständig.</translation>
        </message>
        <message>
            <source>Offline mode is on, so nothing can be downloaded.</source>
            <translation>Der Offline-Modus ist an, deshalb kann nichts heruntergeladen werden.</translation>
        </message>
        <message>
            <source>Offline mode is on, so the Hub can't be searched.</source>
            <translation>Der Offline-Modus ist an, daher kann der Hub nicht durchsucht werden.</translation>
        </message>
        <message>
            <source>Offline mode is on, so the built-in model can't be downloaded.</source>
            <translation>Der Offline-Modus ist eingeschaltet, deshalb kann das mitgelieferte Modell nicht heruntergeladen werden.</translation>
        </message>
        <message>
            <source>Offline mode is on, so the token can't be checked.</source>
            <translation>Der Offline-Modus ist an, daher kann das Token nicht geprüft werden.</translation>
        </message>
        <message>
            <source>Offline mode is on.</source>
            <translation>Der Offline-Modus ist an.</translation>
        </message>
        <message>
            <source>Offline mode is on. Turn it off to search the Hub.</source>
            <translation>Der Offline-Modus ist an. Schalten Sie ihn aus, um den Hub zu durchsuchen.</translation>
        </message>
        <message>
            <source>Offline mode is on: {host} was not contacted.</source>
            <translation>Der Offline-Modus ist an: {host} wurde nicht kontaktiert.</translation>
        </message>
        <message>
            <source>Older checkpoints are deleted when a newer one is complete.</source>
            <translation>Ältere Checkpoints werden gelöscht, sobald ein neuerer vollständig ist.</translation>
        </message>
        <message>
            <source>Older runs</source>
            <translation>Ältere Läufe</translation>
        </message>
        <message>
            <source>Ollama</source>
            <translation>Ollama</translation>
        </message>
        <message>
            <source>Ollama 0.30 and later, LM Studio, and llama.cpp are affected. Choose another chat template before training, or use the TEMPLATE with Ollama before 0.30.</source>
            <translation>Betroffen sind Ollama ab 0.30, LM Studio und llama.cpp. Wählen Sie vor dem Training eine andere Chat-Vorlage, oder verwenden Sie das TEMPLATE mit Ollama vor 0.30.</translation>
        </message>
        <message>
            <source>Ollama TEMPLATE</source>
            <translation>Ollama-TEMPLATE</translation>
        </message>
        <message>
            <source>Ollama TEMPLATE (Go)</source>
            <translation>Ollama-TEMPLATE (Go)</translation>
        </message>
        <message>
            <source>Ollama TEMPLATE: {note}.</source>
            <translation>Ollama-TEMPLATE: {note}.</translation>
        </message>
        <message>
            <source>Ollama address</source>
            <translation>Ollama-Adresse</translation>
        </message>
        <message>
            <source>Ollama already has a model with this name. Its current contents will be lost unless you copy it under another name first.</source>
            <translation>In Ollama gibt es bereits ein Modell mit diesem Namen. Sein jetziger Inhalt geht verloren, wenn Sie es nicht vorher unter einem anderen Namen kopieren.</translation>
        </message>
        <message>
            <source>Ollama before 0.30 needs a TEMPLATE</source>
            <translation>Ollama vor 0.30 braucht ein TEMPLATE</translation>
        </message>
        <message>
            <source>Ollama before 0.30 renders only TEMPLATEs</source>
            <translation>Ollama vor 0.30 verwendet nur TEMPLATEs</translation>
        </message>
        <message>
            <source>Ollama doesn't recognize that {model} supports {capabilities}.</source>
            <translation>Ollama erkennt nicht, dass {model} Folgendes unterstützt: {capabilities}.</translation>
        </message>
        <message>
            <source>Ollama gets {name}.</source>
            <translation>Ollama erhält {name}.</translation>
        </message>
        <message>
            <source>Ollama has no model {model}.</source>
            <translation>Ollama hat kein Modell {model}.</translation>
        </message>
        <message>
            <source>Ollama is a separate program. It must be installed and running at the address on the Export page. To check, run `ollama list` in a terminal.</source>
            <translation>Ollama ist ein eigenes Programm. Es muss installiert sein und unter der Adresse auf der Seite „Export“ laufen. Prüfen lässt sich das mit `ollama list` in einem Terminal.</translation>
        </message>
        <message>
            <source>Ollama isn't running on this computer. Get it from ollama.com/download.</source>
            <translation>Ollama läuft auf diesem Computer nicht. Laden Sie es unter ollama.com/download herunter.</translation>
        </message>
        <message>
            <source>Ollama model files</source>
            <translation>Ollama-Modelldateien</translation>
        </message>
        <message>
            <source>Ollama name</source>
            <translation>Ollama-Name</translation>
        </message>
        <message>
            <source>Ollama reads the size of a Gemma 4 model from its name, and {model} names another size.</source>
            <translation>Ollama liest die Größe eines Gemma-4-Modells aus dessen Namen, und {model} nennt eine andere Größe.</translation>
        </message>
        <message>
            <source>Ollama stored the weights in a file of its own, which isn't on this computer, so they weren't compared.</source>
            <translation>Ollama hat die Gewichte in einer eigenen Datei gespeichert. Sie liegt nicht auf diesem Computer, deshalb wurden sie nicht verglichen.</translation>
        </message>
        <message>
            <source>Ollama stored {model} differently from what was sent: {differences}.</source>
            <translation>Ollama hat {model} anders gespeichert als gesendet: {differences}.</translation>
        </message>
        <message>
            <source>Ollama tokenizes this text itself and reports only the number of tokens.</source>
            <translation>Ollama tokenisiert diesen Text selbst und meldet nur die Anzahl der Tokens.</translation>
        </message>
        <message>
            <source>Ollama uses its own renderer {renderer} for the architecture {architecture}</source>
            <translation>Ollama verwendet für die Architektur {architecture} seinen eigenen Renderer {renderer}</translation>
        </message>
        <message>
            <source>Ollama would read different tokens from those the model was trained on: {actual} instead of {expected}, from token {position} of a conversation of {messages} messages.</source>
            <translation>Ollama würde andere Tokens lesen als die, auf denen das Modell trainiert wurde: {actual} statt {expected}, ab Token {position} eines Gesprächs mit {messages} Nachrichten.</translation>
        </message>
        <message>
            <source>Ollama {release} or later ({reason})</source>
            <translation>Ollama {release} oder neuer ({reason})</translation>
        </message>
        <message>
            <source>Ollama {version} builds another prompt than the one {model} was trained on: {details}.</source>
            <translation>Ollama {version} erzeugt einen anderen Prompt als den, mit dem {model} trainiert wurde: {details}.</translation>
        </message>
        <message>
            <source>Ollama {version} can't render this TEMPLATE. It needs {need}.</source>
            <translation>Ollama {version} kann dieses TEMPLATE nicht verarbeiten. Es braucht {need}.</translation>
        </message>
        <message>
            <source>Ollama {version} can't separate {parts} from the answers of {model}.</source>
            <translation>Ollama {version} kann {parts} nicht von den Antworten von {model} trennen.</translation>
        </message>
        <message>
            <source>Ollama {version} gives other vectors for {model} than its GGUF file: their cosine similarity is as low as {least:.4f} (minimum {limit:.2f}).</source>
            <translation>Ollama {version} liefert für {model} andere Vektoren als die GGUF-Datei: Ihre Kosinus-Ähnlichkeit beträgt nur {least:.4f} (mindestens {limit:.2f}).</translation>
        </message>
        <message>
            <source>Ollama {version} makes prompts with {path}: {reason}.</source>
            <translation>Ollama {version} erzeugt Prompts mit {path}: {reason}.</translation>
        </message>
        <message>
            <source>Ollama {version} needs a verified TEMPLATE, and there is none for this chat template.</source>
            <translation>Ollama {version} braucht ein geprüftes TEMPLATE, und für diese Chat-Vorlage gibt es keines.</translation>
        </message>
        <message>
            <source>Ollama {version} shows the prompts that the model was trained on, from {path}. It wasn't confirmed that it runs them: {reason}.</source>
            <translation>Ollama {version} zeigt die Prompts, mit denen das Modell trainiert wurde, aus {path}. Ob es sie auch ausführt, wurde nicht bestätigt: {reason}.</translation>
        </message>
        <message>
            <source>Ollama {version} uses a prompt of its own for {model}, which differs from the trained one: {details}.</source>
            <translation>Ollama {version} verwendet für {model} einen eigenen Prompt, der vom trainierten abweicht: {details}.</translation>
        </message>
        <message>
            <source>Ollama's TEMPLATE builds other prompts than training for {differing} of {rows} validation conversations, which have {kinds}.</source>
            <translation>Das TEMPLATE von Ollama erzeugt für {differing} von {rows} Validierungsgesprächen andere Prompts als das Training. Diese Gespräche enthalten Folgendes: {kinds}.</translation>
        </message>
        <message>
            <source>Ollama's TEMPLATE builds other prompts than training for {differing} of {rows} validation conversations.</source>
            <translation>Das TEMPLATE von Ollama erzeugt für {differing} von {rows} Validierungsgesprächen andere Prompts als das Training.</translation>
        </message>
        <message numerus="yes">
            <source>Ollama's vectors of {n} texts have a cosine similarity of at least {least:.4f} to those of the GGUF file.</source>
            <translation>
                <numerusform>Ollamas Vektor von {n} Text hat zu dem der GGUF-Datei eine Kosinus-Ähnlichkeit von mindestens {least:.4f}.</numerusform>
                <numerusform>Ollamas Vektoren von {n} Texten haben zu denen der GGUF-Datei eine Kosinus-Ähnlichkeit von mindestens {least:.4f}.</numerusform>
            </translation>
        </message>
        <message>
            <source>Ollama, LM Studio</source>
            <translation>Ollama, LM Studio</translation>
        </message>
        <message>
            <source>Ollama: {name}</source>
            <translation>Ollama: {name}</translation>
        </message>
        <message>
            <source>On</source>
            <translation>An</translation>
        </message>
        <message>
            <source>On average it is {value}.</source>
            <translation>Im Durchschnitt beträgt sie {value}.</translation>
        </message>
        <message>
            <source>On the Model page, choose the base model that the adapter was trained on.</source>
            <translation>Wählen Sie auf der Seite „Modell“ das Basismodell, auf dem der Adapter trainiert wurde.</translation>
        </message>
        <message>
            <source>On the cluster, this run needs your consent again: {requests}</source>
            <translation>Auf dem Cluster braucht dieser Lauf noch einmal Ihre Zustimmung: {requests}</translation>
        </message>
        <message>
            <source>One main button</source>
            <translation>Ein Hauptknopf</translation>
        </message>
        <message>
            <source>One narrow task: labels, fields, short answers.</source>
            <translation>Eine enge Aufgabe: Kategorien, Felder, kurze Antworten.</translation>
        </message>
        <message>
            <source>One of the adapters is damaged. Inspect each with `{command}`.</source>
            <translation>Einer der Adapter ist beschädigt. Untersuchen Sie jeden mit `{command}`.</translation>
        </message>
        <message>
            <source>Only inside tag</source>
            <translation>Nur innerhalb des Tags</translation>
        </message>
        <message>
            <source>Only one label</source>
            <translation>Nur eine Bewertung</translation>
        </message>
        <message>
            <source>Only the first {count} texts were classified. To classify a whole file, run {command}.</source>
            <translation>Nur die ersten {count} Texte wurden klassifiziert. Um eine ganze Datei zu klassifizieren, führen Sie {command} aus.</translation>
        </message>
        <message>
            <source>Only where required</source>
            <translation>Nur wo nötig</translation>
        </message>
        <message>
            <source>Open</source>
            <translation>Öffnen</translation>
        </message>
        <message>
            <source>Open a project first.</source>
            <translation>Öffnen Sie zuerst ein Projekt.</translation>
        </message>
        <message>
            <source>Open a project or a data file</source>
            <translation>Projekt oder Datendatei öffnen</translation>
        </message>
        <message>
            <source>Open a sample project</source>
            <translation>Beispielprojekt öffnen</translation>
        </message>
        <message>
            <source>Open chat</source>
            <translation>Chat öffnen</translation>
        </message>
        <message>
            <source>Open file</source>
            <translation>Datei öffnen</translation>
        </message>
        <message>
            <source>Open folder</source>
            <translation>Ordner öffnen</translation>
        </message>
        <message>
            <source>Open log</source>
            <translation>Protokoll öffnen</translation>
        </message>
        <message>
            <source>Open model page</source>
            <translation>Modellseite öffnen</translation>
        </message>
        <message>
            <source>Open on Hugging Face</source>
            <translation>Auf Hugging Face öffnen</translation>
        </message>
        <message>
            <source>Open project</source>
            <translation>Projekt öffnen</translation>
        </message>
        <message>
            <source>Open the project again and allow it, or replace the link with a folder.</source>
            <translation>Öffnen Sie das Projekt erneut und erlauben Sie es, oder ersetzen Sie den Link durch einen Ordner.</translation>
        </message>
        <message>
            <source>Open the project at its new location, or save it under another name.</source>
            <translation>Öffnen Sie das Projekt am neuen Ort oder speichern Sie es unter einem anderen Namen.</translation>
        </message>
        <message>
            <source>Open {name}, {state}</source>
            <translation>{name} öffnen, {state}</translation>
        </message>
        <message>
            <source>OpenAI-compatible</source>
            <translation>OpenAI-kompatibel</translation>
        </message>
        <message>
            <source>OpenAI-compatible server</source>
            <translation>OpenAI-kompatibler Server</translation>
        </message>
        <message>
            <source>Opening {project}…</source>
            <translation>{project} wird geöffnet …</translation>
        </message>
        <message>
            <source>Opens the playground with this adapter next to the base model</source>
            <translation>Öffnet den Playground mit diesem Adapter neben dem Basismodell</translation>
        </message>
        <message>
            <source>Open…</source>
            <translation>Öffnen…</translation>
        </message>
        <message>
            <source>Optimizer</source>
            <translation>Optimizer</translation>
        </message>
        <message>
            <source>Optimizer steps</source>
            <translation>Optimizer-Schritte</translation>
        </message>
        <message>
            <source>Orthogonal</source>
            <translation>Orthogonal</translation>
        </message>
        <message>
            <source>Orthogonal initialization can't be used with a quantized base model.</source>
            <translation>Orthogonale Initialisierung ist mit einem quantisierten Basismodell nicht möglich.</translation>
        </message>
        <message>
            <source>Orthogonal initialization needs even ranks.</source>
            <translation>Orthogonale Initialisierung braucht gerade Ränge.</translation>
        </message>
        <message>
            <source>Other conversations are not affected.</source>
            <translation>Andere Gespräche sind nicht betroffen.</translation>
        </message>
        <message>
            <source>Out of date: the model has changed since it was evaluated</source>
            <translation>Veraltet: Das Modell hat sich seit der Auswertung geändert</translation>
        </message>
        <message>
            <source>Out of date: {names} changed after this evaluation. Evaluate the run again.</source>
            <translation>Veraltet: Nach dieser Auswertung geändert: {names}. Werte den Lauf erneut aus.</translation>
        </message>
        <message>
            <source>Out of memory on another device.</source>
            <translation>Der Speicher eines anderen Geräts reicht nicht aus.</translation>
        </message>
        <message>
            <source>Out of memory while allocating {amount}.</source>
            <translation>Der Speicher reicht nicht aus: {amount} konnten nicht belegt werden.</translation>
        </message>
        <message>
            <source>Out of memory.</source>
            <translation>Der Speicher reicht nicht aus.</translation>
        </message>
        <message>
            <source>Out of memory: {used:memory} of the {limit:memory} limit of the control group (cgroup) is in use.</source>
            <translation>Der Speicher reicht nicht aus: {used:memory} von {limit:memory}, der Grenze der Control Group (cgroup), sind belegt.</translation>
        </message>
        <message>
            <source>Out of memory: {used:memory} of this computer's {limit:memory} is in use.</source>
            <translation>Der Speicher reicht nicht aus: {used:memory} von {limit:memory} dieses Computers sind belegt.</translation>
        </message>
        <message>
            <source>Out of memory: {used:memory} of {limit:memory} of address space is in use.</source>
            <translation>Nicht genug Speicher: {used:memory} von {limit:memory} Adressraum sind belegt.</translation>
        </message>
        <message>
            <source>Output folder</source>
            <translation>Ausgabeordner</translation>
        </message>
        <message>
            <source>Output of llama-server</source>
            <translation>Ausgabe von llama-server</translation>
        </message>
        <message>
            <source>Output of the libraries during the latest run. Check it: libraries can quote your data.</source>
            <translation>Ausgaben der Bibliotheken während des letzten Laufs. Prüfen Sie sie: Bibliotheken können Ihre Daten zitieren.</translation>
        </message>
        <message>
            <source>Over 16 B</source>
            <translation>Über 16 B</translation>
        </message>
        <message>
            <source>Overhead</source>
            <translation>Sonstiges</translation>
        </message>
        <message>
            <source>Overrides the warmup ratio. 0 uses the ratio.</source>
            <translation>Hat Vorrang vor dem Warmup-Anteil. 0 verwendet den Anteil.</translation>
        </message>
        <message>
            <source>PEFT</source>
            <translation>PEFT</translation>
        </message>
        <message>
            <source>PEFT can't compute its updates alone</source>
            <translation>PEFT kann seine Änderungen nicht einzeln berechnen</translation>
        </message>
        <message>
            <source>PEFT merge</source>
            <translation>Merge mit PEFT</translation>
        </message>
        <message>
            <source>PEFT merges it with the model in memory: {reason}.</source>
            <translation>PEFT führt ihn mit dem Modell im Arbeitsspeicher zusammen: {reason}.</translation>
        </message>
        <message>
            <source>Package</source>
            <translation>Paket</translation>
        </message>
        <message>
            <source>Package licenses</source>
            <translation>Lizenzen der Pakete</translation>
        </message>
        <message>
            <source>Packages of the engine don't work: {packages}.</source>
            <translation>Pakete der Engine funktionieren nicht: {packages}.</translation>
        </message>
        <message>
            <source>Page</source>
            <translation>Seite</translation>
        </message>
        <message>
            <source>Pairs for search</source>
            <translation>Paare für die Suche</translation>
        </message>
        <message>
            <source>Pairs for search (query, positive, negative)</source>
            <translation>Paare für die Suche (query, positive, negative)</translation>
        </message>
        <message>
            <source>Pairs for search train a model that turns texts into vectors. It can't write answers or chat.</source>
            <translation>Paare für die Suche trainieren ein Modell, das Texte in Vektoren umwandelt. Es kann weder Antworten schreiben noch chatten.</translation>
        </message>
        <message>
            <source>Parameters</source>
            <translation>Parameter</translation>
        </message>
        <message>
            <source>Parquet</source>
            <translation>Parquet</translation>
        </message>
        <message>
            <source>Partial results; intervals become narrower with every answer.</source>
            <translation>Teilergebnisse; die Intervalle werden mit jeder Antwort schmaler.</translation>
        </message>
        <message>
            <source>Pass a data file with `{option}`, or choose quantizations that need no matrix.</source>
            <translation>Geben Sie mit `{option}` eine Datendatei an oder wählen Sie Quantisierungen ohne Matrix.</translation>
        </message>
        <message>
            <source>Passages that several queries should find</source>
            <translation>Texte, die mehrere Suchanfragen finden sollen</translation>
        </message>
        <message>
            <source>Passed the self-test.</source>
            <translation>Selbsttest bestanden.</translation>
        </message>
        <message>
            <source>Pattern</source>
            <translation>Muster</translation>
        </message>
        <message>
            <source>Pause</source>
            <translation>Pausieren</translation>
        </message>
        <message>
            <source>Pause queue</source>
            <translation>Anhalten</translation>
        </message>
        <message>
            <source>Pause training</source>
            <translation>Training pausieren</translation>
        </message>
        <message>
            <source>Paused</source>
            <translation>Pausiert</translation>
        </message>
        <message>
            <source>Paused.</source>
            <translation>Pausiert.</translation>
        </message>
        <message>
            <source>Paused. Queued runs don't start automatically.</source>
            <translation>Angehalten. Läufe starten nicht automatisch.</translation>
        </message>
        <message>
            <source>Pausing after this step. The window then closes.</source>
            <translation>Pausiert nach diesem Schritt. Danach schließt sich das Fenster.</translation>
        </message>
        <message>
            <source>Pausing after this step…</source>
            <translation>Wird nach diesem Schritt pausiert …</translation>
        </message>
        <message>
            <source>Pausing…</source>
            <translation>Wird pausiert …</translation>
        </message>
        <message>
            <source>Peak learning rate. 1e-4 to 3e-4 suits most LoRA runs; models below 1 B parameters often need more.</source>
            <translation>Höchste Lernrate. 1e-4 bis 3e-4 passt für die meisten LoRA-Läufe; Modelle mit weniger als 1 Mrd. Parametern brauchen oft mehr.</translation>
        </message>
        <message>
            <source>Peak learning rate. {rate} is common for {method}.</source>
            <translation>Höchste Lernrate. {rate} ist für {method} üblich.</translation>
        </message>
        <message>
            <source>Peak memory</source>
            <translation>Speicherspitze</translation>
        </message>
        <message>
            <source>Percent</source>
            <translation>Prozent</translation>
        </message>
        <message>
            <source>Perplexity of the reference</source>
            <translation>Perplexität der Referenz</translation>
        </message>
        <message>
            <source>Perplexity on {category}: {change} %</source>
            <translation>Perplexität ({category}): {change} %</translation>
        </message>
        <message>
            <source>Persian</source>
            <translation>Persisch</translation>
        </message>
        <message>
            <source>Personal data</source>
            <translation>Persönliche Daten</translation>
        </message>
        <message>
            <source>PiSSA</source>
            <translation>PiSSA</translation>
        </message>
        <message>
            <source>Plain text</source>
            <translation>Reiner Text</translation>
        </message>
        <message>
            <source>Planning</source>
            <translation>Planung</translation>
        </message>
        <message>
            <source>Planning the merge</source>
            <translation>Zusammenführen wird geplant</translation>
        </message>
        <message>
            <source>Playground</source>
            <translation>Playground</translation>
        </message>
        <message>
            <source>Playground prompts</source>
            <translation>Prompts aus dem Playground</translation>
        </message>
        <message>
            <source>Plotted quantity</source>
            <translation>Dargestellte Größe</translation>
        </message>
        <message>
            <source>Polish</source>
            <translation>Polnisch</translation>
        </message>
        <message>
            <source>Polynomial</source>
            <translation>Polynom</translation>
        </message>
        <message>
            <source>Pooling</source>
            <translation>Pooling</translation>
        </message>
        <message>
            <source>Port</source>
            <translation>Port</translation>
        </message>
        <message>
            <source>Port {port:d} can't be used: {reason}.</source>
            <translation>Port {port:d} kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>Portuguese</source>
            <translation>Portugiesisch</translation>
        </message>
        <message>
            <source>Poster</source>
            <translation>Poster</translation>
        </message>
        <message>
            <source>Posts on X</source>
            <translation>Beiträge auf X</translation>
        </message>
        <message>
            <source>Power</source>
            <translation>Exponent</translation>
        </message>
        <message>
            <source>Precision</source>
            <translation>Genauigkeit</translation>
        </message>
        <message>
            <source>Precision of the merged model</source>
            <translation>Genauigkeit des zusammengeführten Modells</translation>
        </message>
        <message>
            <source>Precision to store the merged weights in. The default is that of the base model.</source>
            <translation>Genauigkeit, in der die zusammengeführten Gewichte gespeichert werden. Standard ist die des Basismodells.</translation>
        </message>
        <message numerus="yes">
            <source>Predicted for Ollama {version}, which uses {path}: {reason}. Its token counts are correct in {n} conversations; it doesn't show its prompts.</source>
            <translation>
                <numerusform>Vorhersage für Ollama {version}, das {path} verwendet: {reason}. Die Tokenzahl stimmt in {n} Gespräch; seine Prompts zeigt es nicht.</numerusform>
                <numerusform>Vorhersage für Ollama {version}, das {path} verwendet: {reason}. Die Tokenzahlen stimmen in {n} Gesprächen; seine Prompts zeigt es nicht.</numerusform>
            </translation>
        </message>
        <message>
            <source>Predicted, not asked: Ollama {version} uses {path}, because {reason}.</source>
            <translation>Vorhergesagt, nicht gefragt: Ollama {version} verwendet {path}. Grund: {reason}.</translation>
        </message>
        <message>
            <source>Preference</source>
            <translation>Präferenz</translation>
        </message>
        <message>
            <source>Preference (chosen, rejected)</source>
            <translation>Präferenz (chosen, rejected)</translation>
        </message>
        <message>
            <source>Preference method</source>
            <translation>Präferenzverfahren</translation>
        </message>
        <message>
            <source>Preferences</source>
            <translation>Einstellungen</translation>
        </message>
        <message>
            <source>Preferred</source>
            <translation>Bevorzugt</translation>
        </message>
        <message>
            <source>Preferred answers</source>
            <translation>Bevorzugte Antworten</translation>
        </message>
        <message>
            <source>Preferred in {share} of {comparisons} ({low}–{high} %): {wins}, {losses}, {ties}</source>
            <translation>Bevorzugt in {share} von {comparisons} ({low}–{high} %): {wins}, {losses}, {ties}</translation>
        </message>
        <message>
            <source>Prefers the chosen response, and stays close to the base model. The usual choice (Rafailov et al. 2023).</source>
            <translation>Zieht die bevorzugte Antwort vor und bleibt nah am Basismodell. Die übliche Wahl (Rafailov et al. 2023).</translation>
        </message>
        <message>
            <source>Preparing the pages…</source>
            <translation>Seiten werden vorbereitet …</translation>
        </message>
        <message>
            <source>Presets</source>
            <translation>Voreinstellungen</translation>
        </message>
        <message>
            <source>Press the main button</source>
            <translation>Hauptschaltfläche drücken</translation>
        </message>
        <message>
            <source>Previous answer</source>
            <translation>Vorherige Antwort</translation>
        </message>
        <message>
            <source>Previous step</source>
            <translation>Vorheriger Schritt</translation>
        </message>
        <message>
            <source>Previous step (Alt+Left)</source>
            <translation>Vorheriger Schritt (Alt+Links)</translation>
        </message>
        <message>
            <source>Private repository</source>
            <translation>Privates Repository</translation>
        </message>
        <message>
            <source>Probability</source>
            <translation>Wahrscheinlichkeit</translation>
        </message>
        <message>
            <source>Problem</source>
            <translation>Problem</translation>
        </message>
        <message>
            <source>Problems in the rows to repair during training. Your files are never changed.</source>
            <translation>Probleme in den Zeilen, die beim Training behoben werden. Ihre Dateien werden nie geändert.</translation>
        </message>
        <message>
            <source>Processing the template</source>
            <translation>Verarbeiten der Vorlage</translation>
        </message>
        <message>
            <source>Processing the template failed.</source>
            <translation>Die Verarbeitung der Vorlage ist fehlgeschlagen.</translation>
        </message>
        <message>
            <source>Prodigy annotations</source>
            <translation>Annotationen aus Prodigy</translation>
        </message>
        <message>
            <source>Prodigy annotations of parts of texts or of media</source>
            <translation>Annotationen von Textstellen oder Medien aus Prodigy</translation>
        </message>
        <message>
            <source>Programs that would run</source>
            <translation>Programme, die ausgeführt würden</translation>
        </message>
        <message>
            <source>Project</source>
            <translation>Projekt</translation>
        </message>
        <message>
            <source>Project device</source>
            <translation>Gerät des Projekts</translation>
        </message>
        <message>
            <source>Project menu</source>
            <translation>Projektmenü</translation>
        </message>
        <message>
            <source>Projects (*{suffix})</source>
            <translation>Projekte (*{suffix})</translation>
        </message>
        <message>
            <source>Projects and datasets ({patterns})</source>
            <translation>Projekte und Datensätze ({patterns})</translation>
        </message>
        <message>
            <source>Prompt</source>
            <translation>Prompt</translation>
        </message>
        <message>
            <source>Prompt and completion</source>
            <translation>Prompt und Antwort</translation>
        </message>
        <message>
            <source>Prompt for {name}</source>
            <translation>Prompt für {name}</translation>
        </message>
        <message>
            <source>Prompts for rewards</source>
            <translation>Prompts für Belohnungen</translation>
        </message>
        <message>
            <source>Prompts for rewards (prompt, reference)</source>
            <translation>Prompts für Belohnungen (prompt, reference)</translation>
        </message>
        <message>
            <source>Prompts that the fine-tuned model and the base model answer at each evaluation. One per line.</source>
            <translation>Prompts, die das trainierte Modell und das Basismodell bei jeder Evaluation beantworten. Einer pro Zeile.</translation>
        </message>
        <message>
            <source>Prompts with equal rewards</source>
            <translation>Prompts mit gleichen Belohnungen</translation>
        </message>
        <message>
            <source>Public benchmarks need the package {package}, which isn't installed.</source>
            <translation>Öffentliche Benchmarks brauchen das Paket {package}, das nicht installiert ist.</translation>
        </message>
        <message>
            <source>Pulls adapter weights toward zero at each step, scaled by the learning rate.</source>
            <translation>Zieht die Adaptergewichte bei jedem Schritt in Richtung null, multipliziert mit der Lernrate.</translation>
        </message>
        <message>
            <source>Purpose</source>
            <translation>Zweck</translation>
        </message>
        <message>
            <source>Put all turns of a conversation in one row: {"messages": [{"role": …, "content": …}, …]}.</source>
            <translation>Schreiben Sie alle Beiträge eines Gesprächs in eine Zeile: {"messages": [{"role": …, "content": …}, …]}.</translation>
        </message>
        <message>
            <source>Puts rows of similar length into the same step, so that time and memory per step vary less. The order is less random.</source>
            <translation>Fasst Zeilen ähnlicher Länge in einem Schritt zusammen, sodass Zeit und Speicher pro Schritt weniger schwanken. Die Reihenfolge ist weniger zufällig.</translation>
        </message>
        <message>
            <source>PyTorch</source>
            <translation>PyTorch</translation>
        </message>
        <message>
            <source>PyTorch has no code for {gpu}, so training uses the CPU.</source>
            <translation>PyTorch enthält keinen Code für {gpu}, deshalb wird auf der CPU trainiert.</translation>
        </message>
        <message>
            <source>PyTorch {build} has no code for this computer's AMD GPU ({gpu}), so it isn't used.</source>
            <translation>PyTorch {build} enthält keinen Code für die AMD-GPU dieses Computers ({gpu}); sie wird deshalb nicht verwendet.</translation>
        </message>
        <message>
            <source>PyTorch {version} can't use this computer's GPU, so training uses the CPU. The GPU's driver may be too old.</source>
            <translation>PyTorch {version} kann die GPU dieses Computers nicht verwenden, deshalb läuft das Training auf der CPU. Vielleicht ist der GPU-Treiber zu alt.</translation>
        </message>
        <message>
            <source>PyTorch {version} can't use {title}, so training uses the CPU. The GPU's driver may be too old.</source>
            <translation>PyTorch {version} kann {title} nicht verwenden, deshalb läuft das Training auf der CPU. Vielleicht ist der GPU-Treiber zu alt.</translation>
        </message>
        <message>
            <source>PyTorch {version} has no code for {title} (cuda:{index:d}).</source>
            <translation>PyTorch {version} enthält keinen Code für {title} (cuda:{index:d}).</translation>
        </message>
        <message>
            <source>PyTorch {version} has no code for {title}, so training uses the CPU.</source>
            <translation>PyTorch {version} enthält keinen Code für {title}, deshalb wird auf der CPU trainiert.</translation>
        </message>
        <message>
            <source>PyTorch {version} is a build without CUDA. It can't use {title}, so training uses the CPU.</source>
            <translation>PyTorch {version} ist ohne CUDA gebaut. Es kann {title} nicht verwenden, deshalb läuft das Training auf der CPU.</translation>
        </message>
        <message>
            <source>PyTorch {version} works but can't use a GPU here. Training runs on the CPU.</source>
            <translation>PyTorch {version} funktioniert, kann hier aber keine GPU nutzen. Das Training läuft auf der CPU.</translation>
        </message>
        <message>
            <source>PyTorch's own index for {source} can't be reached ({reason}). Its default build is used from your index instead, which can be older and larger.</source>
            <translation>PyTorchs eigener Index für {source} ist nicht erreichbar ({reason}). Stattdessen wird die Standardversion aus Ihrem Index verwendet, die älter und größer sein kann.</translation>
        </message>
        <message>
            <source>Python</source>
            <translation>Python</translation>
        </message>
        <message>
            <source>Python file</source>
            <translation>Python-Datei</translation>
        </message>
        <message>
            <source>Python function</source>
            <translation>Python-Funktion</translation>
        </message>
        <message>
            <source>Python {version} wasn't found on this computer.</source>
            <translation>Python {version} wurde auf diesem Computer nicht gefunden.</translation>
        </message>
        <message>
            <source>Python's header files aren't installed (`sudo apt install python3-dev`). With them, training on this CPU is faster.</source>
            <translation>Die Header-Dateien von Python sind nicht installiert (`sudo apt install python3-dev`). Mit ihnen ist das Training auf dieser CPU schneller.</translation>
        </message>
        <message>
            <source>Quality loss</source>
            <translation>Qualitätsverlust</translation>
        </message>
        <message>
            <source>Quantity in the lower chart</source>
            <translation>Größe im unteren Diagramm</translation>
        </message>
        <message>
            <source>Quantization</source>
            <translation>Quantisierung</translation>
        </message>
        <message>
            <source>Quantizations</source>
            <translation>Quantisierungen</translation>
        </message>
        <message>
            <source>Quantized weights can't be sharded across devices.</source>
            <translation>Quantisierte Gewichte lassen sich nicht auf mehrere Geräte aufteilen.</translation>
        </message>
        <message>
            <source>Quantizing to {quantization}</source>
            <translation>Quantisierung zu {quantization}</translation>
        </message>
        <message>
            <source>Quantizing to {quantization} failed with status {status:d}.</source>
            <translation>Die Quantisierung zu {quantization} ist mit Status {status:d} fehlgeschlagen.</translation>
        </message>
        <message>
            <source>Quantizing to {quantization} failed: {reason}.</source>
            <translation>Die Quantisierung zu {quantization} ist fehlgeschlagen: {reason}.</translation>
        </message>
        <message>
            <source>Query</source>
            <translation>Anfrage</translation>
        </message>
        <message>
            <source>Query and passage are the same</source>
            <translation>Suchanfrage und Text sind gleich</translation>
        </message>
        <message>
            <source>Question</source>
            <translation>Frage</translation>
        </message>
        <message>
            <source>Question and answer</source>
            <translation>Frage und Antwort</translation>
        </message>
        <message>
            <source>Queue</source>
            <translation>Warteschlange</translation>
        </message>
        <message>
            <source>Queue paused. Start it on the Runs page.</source>
            <translation>Warteschlange angehalten. Starten Sie sie auf der Seite „Läufe“.</translation>
        </message>
        <message>
            <source>Queued</source>
            <translation>In Warteschlange</translation>
        </message>
        <message>
            <source>Queues a run for every combination of values of one or two settings (Ctrl+Enter)</source>
            <translation>Stellt für jede Wertekombination von ein oder zwei Einstellungen einen Lauf in die Warteschlange (Strg+Eingabe)</translation>
        </message>
        <message>
            <source>Queues a run for every combination of values. All other settings come from the project.</source>
            <translation>Stellt für jede Kombination der Werte einen Lauf in die Warteschlange. Alle anderen Einstellungen kommen aus dem Projekt.</translation>
        </message>
        <message>
            <source>Quick test</source>
            <translation>Kurzer Test</translation>
        </message>
        <message>
            <source>Quit</source>
            <translation>Beenden</translation>
        </message>
        <message>
            <source>RAdam, schedule-free</source>
            <translation>RAdam, schedule-free</translation>
        </message>
        <message>
            <source>RMSprop</source>
            <translation>RMSprop</translation>
        </message>
        <message>
            <source>RMSprop 8-bit</source>
            <translation>RMSprop 8 Bit</translation>
        </message>
        <message>
            <source>ROUGE-L</source>
            <translation>ROUGE-L</translation>
        </message>
        <message>
            <source>Raise the learning rate or the rank, adapt more layers, and check the colored tokens of a few rows.</source>
            <translation>Erhöhen Sie Lernrate oder Rang, passen Sie mehr Schichten an und prüfen Sie die farbigen Tokens einiger Zeilen.</translation>
        </message>
        <message>
            <source>Raise the learning rate, train longer, or use prompts that the model sometimes completes well.</source>
            <translation>Erhöhen Sie die Lernrate, trainieren Sie länger, oder verwenden Sie Prompts, die das Modell manchmal gut beantwortet.</translation>
        </message>
        <message>
            <source>Raise the limit on address space (run `ulimit -v unlimited` in the terminal before you start LoRA Studio), or close other programs.</source>
            <translation>Erhöhen Sie die Grenze des Adressraums (führen Sie vor dem Start von LoRA Studio im Terminal `ulimit -v unlimited` aus) oder schließen Sie andere Programme.</translation>
        </message>
        <message>
            <source>Raise the limit on open files (run `ulimit -n 4096` in the terminal before you start LoRA Studio).</source>
            <translation>Erhöhen Sie die Grenze für geöffnete Dateien (führen Sie vor dem Start von LoRA Studio im Terminal `ulimit -n 4096` aus).</translation>
        </message>
        <message>
            <source>Random seed: the same seed gives the same answer.</source>
            <translation>Seed des Zufallsgenerators: Derselbe Seed ergibt dieselbe Antwort.</translation>
        </message>
        <message>
            <source>Range: above {low} to {high}{unit}</source>
            <translation>Bereich: über {low} bis {high}{unit}</translation>
        </message>
        <message>
            <source>Range: {low} to {high}{unit}</source>
            <translation>Bereich: {low} bis {high}{unit}</translation>
        </message>
        <message>
            <source>Rank</source>
            <translation>Rang</translation>
        </message>
        <message>
            <source>Rank 16</source>
            <translation>Rang 16</translation>
        </message>
        <message>
            <source>Rank 32</source>
            <translation>Rang 32</translation>
        </message>
        <message>
            <source>Rank 64</source>
            <translation>Rang 64</translation>
        </message>
        <message>
            <source>Rank 8</source>
            <translation>Rang 8</translation>
        </message>
        <message>
            <source>Rank of the result</source>
            <translation>Rang des Ergebnisses</translation>
        </message>
        <message>
            <source>Rank presets</source>
            <translation>Rang-Voreinstellungen</translation>
        </message>
        <message>
            <source>Rank {rank}</source>
            <translation>Rang {rank}</translation>
        </message>
        <message>
            <source>Rank-stabilized LoRA</source>
            <translation>Rangstabilisiertes LoRA</translation>
        </message>
        <message>
            <source>Ranks by module</source>
            <translation>Ränge je Modul</translation>
        </message>
        <message>
            <source>Rates only the text inside this tag, such as answer. Empty for the whole answer.</source>
            <translation>Bewertet nur den Text in diesem Tag, zum Beispiel answer. Leer für die ganze Antwort.</translation>
        </message>
        <message>
            <source>Raw</source>
            <translation>Roh</translation>
        </message>
        <message>
            <source>Raw row</source>
            <translation>Rohe Zeile</translation>
        </message>
        <message>
            <source>Read {path}, which is a link to {target}.</source>
            <translation>{path} lesen, ein Link auf {target}.</translation>
        </message>
        <message>
            <source>Read {path}.</source>
            <translation>{path} lesen.</translation>
        </message>
        <message>
            <source>Reading model details…</source>
            <translation>Modelldetails werden gelesen…</translation>
        </message>
        <message>
            <source>Reading needs more than {limit:memory} of memory, so it was stopped.</source>
            <translation>Das Lesen braucht mehr als {limit:memory} Arbeitsspeicher und wurde deshalb abgebrochen.</translation>
        </message>
        <message>
            <source>Reading rows</source>
            <translation>Zeilen lesen</translation>
        </message>
        <message>
            <source>Reading the Ollama model</source>
            <translation>Ollama-Modell wird gelesen</translation>
        </message>
        <message>
            <source>Reading the adapter</source>
            <translation>Adapter wird gelesen</translation>
        </message>
        <message>
            <source>Reading the dataset</source>
            <translation>Datensatz wird gelesen</translation>
        </message>
        <message>
            <source>Reading the dataset into the cache</source>
            <translation>Datensatz in den Cache lesen</translation>
        </message>
        <message>
            <source>Reading the list of benchmarks. The first time, this takes up to a minute.</source>
            <translation>Die Liste der Benchmarks wird gelesen. Beim ersten Mal dauert das bis zu einer Minute.</translation>
        </message>
        <message>
            <source>Reading the row</source>
            <translation>Zeile wird gelesen</translation>
        </message>
        <message>
            <source>Reading the test sets</source>
            <translation>Testdaten lesen</translation>
        </message>
        <message>
            <source>Reading {file} needs more than {limit:memory} of memory, so it was stopped.</source>
            <translation>Das Lesen von {file} braucht mehr als {limit:memory} Arbeitsspeicher und wurde deshalb abgebrochen.</translation>
        </message>
        <message>
            <source>Reading…</source>
            <translation>Wird gelesen…</translation>
        </message>
        <message>
            <source>Ready to export</source>
            <translation>Bereit zum Export</translation>
        </message>
        <message>
            <source>Ready to merge</source>
            <translation>Bereit zum Zusammenführen</translation>
        </message>
        <message>
            <source>Ready to upload: {files}. Sign in once in Settings.</source>
            <translation>Bereit zum Hochladen: {files}. Melden Sie sich einmalig in den Einstellungen an.</translation>
        </message>
        <message>
            <source>Ready to upload: {files}. Sign in once in Settings. To upload a merged model, merge the adapter first.</source>
            <translation>Bereit zum Hochladen: {files}. Melden Sie sich einmalig in den Einstellungen an. Um ein zusammengeführtes Modell hochzuladen, führen Sie zuerst den Adapter zusammen.</translation>
        </message>
        <message>
            <source>Reasoning</source>
            <translation>Überlegung</translation>
        </message>
        <message>
            <source>Reasoning and mathematics for its size. English.</source>
            <translation>Denken und Mathematik für seine Größe. Englisch.</translation>
        </message>
        <message>
            <source>Recall@1</source>
            <translation>Recall@1</translation>
        </message>
        <message>
            <source>Recall@10</source>
            <translation>Recall@10</translation>
        </message>
        <message>
            <source>Recall@5</source>
            <translation>Recall@5</translation>
        </message>
        <message>
            <source>Recent</source>
            <translation>Zuletzt verwendet</translation>
        </message>
        <message>
            <source>Recent projects</source>
            <translation>Letzte Projekte</translation>
        </message>
        <message>
            <source>Recently updated</source>
            <translation>Zuletzt aktualisiert</translation>
        </message>
        <message>
            <source>Recently used sources</source>
            <translation>Zuletzt verwendete Quellen</translation>
        </message>
        <message>
            <source>Recommended</source>
            <translation>Empfohlen</translation>
        </message>
        <message>
            <source>Recomputes activations in the backward pass instead of storing them: much less memory, about a third slower. Unsloth's version also offloads what it stores to main memory.</source>
            <translation>Berechnet Aktivierungen im Rückwärtsdurchlauf neu, statt sie zu speichern: viel weniger Speicher, etwa ein Drittel langsamer. Die Variante von Unsloth lagert das Gespeicherte außerdem in den Hauptspeicher aus.</translation>
        </message>
        <message>
            <source>Redo</source>
            <translation>Wiederholen</translation>
        </message>
        <message>
            <source>Reduce memory use</source>
            <translation>Speicherbedarf senken</translation>
        </message>
        <message>
            <source>Reduce on plateau</source>
            <translation>Auf einem Plateau senken</translation>
        </message>
        <message>
            <source>Reduce the micro-batch size or the max. sequence length, enable gradient checkpointing, or choose 4-bit precision. Closing other programs that use the device also helps.</source>
            <translation>Verringern Sie die Mikro-Batch-Größe oder die maximale Sequenzlänge, schalten Sie Gradient Checkpointing ein oder wählen Sie 4-Bit-Genauigkeit. Auch das Schließen anderer Programme, die das Gerät nutzen, hilft.</translation>
        </message>
        <message>
            <source>Reducing the learning rate on a plateau needs eval loss, but no rows are used for validation.</source>
            <translation>Das Senken der Lernrate auf einem Plateau braucht den Eval-Loss, aber es gibt keine Validierungszeilen.</translation>
        </message>
        <message>
            <source>Reference</source>
            <translation>Referenz</translation>
        </message>
        <message>
            <source>Refresh</source>
            <translation>Aktualisieren</translation>
        </message>
        <message>
            <source>Refusals</source>
            <translation>Verweigerungen</translation>
        </message>
        <message>
            <source>Regenerate</source>
            <translation>Neu generieren</translation>
        </message>
        <message>
            <source>Regenerate (Ctrl+R)</source>
            <translation>Neu generieren (Strg+R)</translation>
        </message>
        <message>
            <source>Regular expression</source>
            <translation>Regulärer Ausdruck</translation>
        </message>
        <message>
            <source>Regular expression that has to match somewhere in the completion, such as ^(yes|no)$.</source>
            <translation>Regulärer Ausdruck, der irgendwo in der Antwort passen muss, zum Beispiel ^(ja|nein)$.</translation>
        </message>
        <message>
            <source>Reinstall LoRA Studio, or run it from source.</source>
            <translation>Installieren Sie LoRA Studio neu oder starten Sie es aus dem Quellcode.</translation>
        </message>
        <message>
            <source>Rejected</source>
            <translation>Abgelehnt</translation>
        </message>
        <message>
            <source>Rejected answer</source>
            <translation>Abgelehnte Antwort</translation>
        </message>
        <message>
            <source>Remove</source>
            <translation>Entfernen</translation>
        </message>
        <message>
            <source>Remove active engine only ({size})</source>
            <translation>Nur aktive Engine entfernen ({size})</translation>
        </message>
        <message>
            <source>Remove all ({size})</source>
            <translation>Alle entfernen ({size})</translation>
        </message>
        <message>
            <source>Remove all engines?</source>
            <translation>Alle Engines entfernen?</translation>
        </message>
        <message>
            <source>Remove contradictory pairs</source>
            <translation>Widersprüchliche Paare entfernen</translation>
        </message>
        <message>
            <source>Remove duplicate rows</source>
            <translation>Doppelte Zeilen entfernen</translation>
        </message>
        <message>
            <source>Remove extremely long rows</source>
            <translation>Extrem lange Zeilen entfernen</translation>
        </message>
        <message>
            <source>Remove from queue (Delete). The run itself is kept.</source>
            <translation>Aus der Warteschlange entfernen (Entf). Der Lauf selbst bleibt erhalten.</translation>
        </message>
        <message>
            <source>Remove it from the new tokens. To train its row too, train embed_tokens in full.</source>
            <translation>Entfernen Sie es aus den neuen Token. Um auch seine Zeile zu trainieren, trainieren Sie embed_tokens vollständig.</translation>
        </message>
        <message>
            <source>Remove it from the target modules, and add it to “Modules trained in full”.</source>
            <translation>Entfernen Sie es aus den Zielmodulen, und fügen Sie es zu „Vollständig trainierte Module“ hinzu.</translation>
        </message>
        <message>
            <source>Remove it. Settings in {step}: {names}.</source>
            <translation>Entfernen Sie diese Angabe. Einstellungen in {step}: {names}.</translation>
        </message>
        <message>
            <source>Remove it. The sections are: {names}.</source>
            <translation>Entfernen Sie ihn. Die Abschnitte sind: {names}.</translation>
        </message>
        <message>
            <source>Remove lm_head from the target modules and from the modules trained in full.</source>
            <translation>Entfernen Sie lm_head aus den Zielmodulen und aus den vollständig trainierten Modulen.</translation>
        </message>
        <message>
            <source>Remove near-duplicate rows</source>
            <translation>Fast doppelte Zeilen entfernen</translation>
        </message>
        <message>
            <source>Remove pairs with the same query and passage</source>
            <translation>Paare entfernen, deren Suchanfrage und Text gleich sind</translation>
        </message>
        <message>
            <source>Remove refusals</source>
            <translation>Verweigerungen entfernen</translation>
        </message>
        <message>
            <source>Remove rows with different columns</source>
            <translation>Zeilen mit anderen Spalten entfernen</translation>
        </message>
        <message>
            <source>Remove rows with empty turns</source>
            <translation>Zeilen mit leeren Beiträgen entfernen</translation>
        </message>
        <message>
            <source>Remove rows with lost characters</source>
            <translation>Zeilen mit verlorenen Zeichen entfernen</translation>
        </message>
        <message>
            <source>Remove rows with turns out of order</source>
            <translation>Zeilen mit falscher Reihenfolge der Beiträge entfernen</translation>
        </message>
        <message>
            <source>Remove the double quotes, or create the model with LoRA Studio instead.</source>
            <translation>Entfernen Sie die doppelten Anführungszeichen oder erstellen Sie das Modell mit LoRA Studio.</translation>
        </message>
        <message>
            <source>Remove the experts from the target modules, or set the backend to Automatic.</source>
            <translation>Entfernen Sie die Experten aus den Zielmodulen, oder stellen Sie das Backend auf „Automatisch“.</translation>
        </message>
        <message>
            <source>Remove the new tokens, or change that setting.</source>
            <translation>Entfernen Sie die neuen Token oder ändern Sie diese Einstellung.</translation>
        </message>
        <message>
            <source>Remove the new tokens, or choose another model.</source>
            <translation>Entfernen Sie die neuen Token oder wählen Sie ein anderes Modell.</translation>
        </message>
        <message>
            <source>Remove the new tokens, or replicate the weights.</source>
            <translation>Entfernen Sie die neuen Token oder replizieren Sie die Gewichte.</translation>
        </message>
        <message>
            <source>Remove the new tokens.</source>
            <translation>Entfernen Sie die neuen Token.</translation>
        </message>
        <message>
            <source>Remove the password from the address, and use a key variable.</source>
            <translation>Entfernen Sie das Passwort aus der Adresse, und verwenden Sie eine Schlüsselvariable.</translation>
        </message>
        <message>
            <source>Remove the system prompt from the export settings.</source>
            <translation>Entfernen Sie den System-Prompt aus den Exporteinstellungen.</translation>
        </message>
        <message>
            <source>Remove this filter from the chat template before training.</source>
            <translation>Entfernen Sie diesen Filter vor dem Training aus der Chat-Vorlage.</translation>
        </message>
        <message>
            <source>Remove this source</source>
            <translation>Diese Quelle entfernen</translation>
        </message>
        <message>
            <source>Remove validation rows from training</source>
            <translation>Validierungszeilen aus dem Training entfernen</translation>
        </message>
        <message>
            <source>Remove white space around the messages of your data, then train again.</source>
            <translation>Entfernen Sie Leerraum um die Nachrichten Ihrer Daten, und trainieren Sie dann neu.</translation>
        </message>
        <message>
            <source>Remove {adapter}</source>
            <translation>{adapter} entfernen</translation>
        </message>
        <message>
            <source>Remove {folder} from the list</source>
            <translation>{folder} aus der Liste entfernen</translation>
        </message>
        <message>
            <source>Remove {name}</source>
            <translation>{name} entfernen</translation>
        </message>
        <message>
            <source>Remove {name} from Ollama?</source>
            <translation>{name} aus Ollama entfernen?</translation>
        </message>
        <message>
            <source>Remove {name} from this list (its files aren't deleted)</source>
            <translation>{name} aus dieser Liste entfernen (die Dateien bleiben erhalten)</translation>
        </message>
        <message>
            <source>Remove {text}</source>
            <translation>{text} entfernen</translation>
        </message>
        <message>
            <source>Remove {text} from the dataset (the file isn't deleted)</source>
            <translation>{text} aus dem Datensatz entfernen (die Datei bleibt erhalten)</translation>
        </message>
        <message>
            <source>Removes GRPO's preference for long wrong completions and for prompts with similar rewards (Liu et al. 2025).</source>
            <translation>Beseitigt die Bevorzugung langer falscher Antworten und von Prompts mit ähnlichen Belohnungen in GRPO (Liu et al. 2025).</translation>
        </message>
        <message>
            <source>Remove…</source>
            <translation>Entfernen…</translation>
        </message>
        <message>
            <source>Removing</source>
            <translation>Entfernen</translation>
        </message>
        <message>
            <source>Rename</source>
            <translation>Umbenennen</translation>
        </message>
        <message>
            <source>Rename or remove it. Did you mean {names}?</source>
            <translation>Benennen Sie sie um, oder entfernen Sie sie. Meinten Sie {names}?</translation>
        </message>
        <message>
            <source>Rendering the chat template</source>
            <translation>Chat-Vorlage wird gerendert</translation>
        </message>
        <message>
            <source>Rendering the template</source>
            <translation>Vorlage wird gerendert</translation>
        </message>
        <message>
            <source>Repair</source>
            <translation>Reparieren</translation>
        </message>
        <message>
            <source>Repair broken characters</source>
            <translation>Beschädigte Zeichen reparieren</translation>
        </message>
        <message>
            <source>Repair it in Settings, or run `lora-studio engine repair`.</source>
            <translation>Reparieren Sie sie in den Einstellungen oder mit `lora-studio engine repair`.</translation>
        </message>
        <message>
            <source>Repair the engine</source>
            <translation>Engine reparieren</translation>
        </message>
        <message>
            <source>Repair the file or download the model again.</source>
            <translation>Reparieren Sie die Datei oder laden Sie das Modell erneut herunter.</translation>
        </message>
        <message>
            <source>Repairs</source>
            <translation>Reparaturen</translation>
        </message>
        <message>
            <source>Repair…</source>
            <translation>Reparieren…</translation>
        </message>
        <message>
            <source>Repetition penalty</source>
            <translation>Wiederholungsstrafe</translation>
        </message>
        <message>
            <source>Replace</source>
            <translation>Ersetzen</translation>
        </message>
        <message>
            <source>Replace the link with the files that it leads to, or delete it.</source>
            <translation>Ersetzen Sie den Link durch die Dateien, auf die er zeigt, oder löschen Sie ihn.</translation>
        </message>
        <message>
            <source>Replace {name}?</source>
            <translation>{name} ersetzen?</translation>
        </message>
        <message>
            <source>Replicate</source>
            <translation>Replizieren</translation>
        </message>
        <message>
            <source>Replicate the base weights on every device, which is fastest, or shard them for models that don't fit on one. Only used with several devices; quantized weights can't be sharded.</source>
            <translation>Die Basisgewichte auf jedem Gerät halten, was am schnellsten ist, oder aufteilen, wenn das Modell nicht auf ein Gerät passt. Nur bei mehreren Geräten; quantisierte Gewichte lassen sich nicht aufteilen.</translation>
        </message>
        <message>
            <source>Replicate the model on every device.</source>
            <translation>Laden Sie das Modell auf jedem Gerät vollständig.</translation>
        </message>
        <message>
            <source>Replicate the weights</source>
            <translation>Gewichte replizieren</translation>
        </message>
        <message>
            <source>Replicate them on every device, or choose the model's 16-bit original.</source>
            <translation>Laden Sie sie auf jedem Gerät vollständig, oder wählen Sie das 16-Bit-Original des Modells.</translation>
        </message>
        <message>
            <source>Report</source>
            <translation>Bericht</translation>
        </message>
        <message>
            <source>Repository</source>
            <translation>Repository</translation>
        </message>
        <message>
            <source>Requests that use them fail or are ignored. Everything else is unaffected.</source>
            <translation>Anfragen, die das nutzen, schlagen fehl oder werden ignoriert. Alles andere ist nicht betroffen.</translation>
        </message>
        <message>
            <source>Requires</source>
            <translation>Erfordert</translation>
        </message>
        <message>
            <source>Requires an importance matrix, which is computed from the training data.</source>
            <translation>Erfordert eine Importance-Matrix, die aus den Trainingsdaten berechnet wird.</translation>
        </message>
        <message>
            <source>Reset</source>
            <translation>Zurücksetzen</translation>
        </message>
        <message>
            <source>Reset it, or choose LoRA as the adapter type.</source>
            <translation>Setzen Sie sie zurück oder wählen Sie LoRA als Adaptertyp.</translation>
        </message>
        <message>
            <source>Reset it, or remove the experts from the target modules.</source>
            <translation>Setzen Sie sie zurück oder entfernen Sie die Experten aus den Zielmodulen.</translation>
        </message>
        <message>
            <source>Reset mapping</source>
            <translation>Zuordnung zurücksetzen</translation>
        </message>
        <message>
            <source>Reset {setting}</source>
            <translation>{setting} zurücksetzen</translation>
        </message>
        <message>
            <source>Restore it from a backup, or delete it and create a new project in this folder.</source>
            <translation>Stellen Sie sie aus einer Sicherung wieder her, oder löschen Sie sie und legen Sie in diesem Ordner ein neues Projekt an.</translation>
        </message>
        <message>
            <source>Restore it from a backup, or rename it so that a new one can be written. Then start this step again.</source>
            <translation>Stellen Sie es aus einer Sicherung wieder her oder benennen Sie es um, damit es neu geschrieben werden kann. Starten Sie dann diesen Schritt erneut.</translation>
        </message>
        <message>
            <source>Restore it from a backup, or resume the training, which writes it again.</source>
            <translation>Stellen Sie sie aus einer Sicherung wieder her, oder setzen Sie das Training fort, das sie neu schreibt.</translation>
        </message>
        <message>
            <source>Restore the dataset, or start a new run.</source>
            <translation>Stellen Sie den Datensatz wieder her, oder starten Sie einen neuen Lauf.</translation>
        </message>
        <message>
            <source>Restore the file from a backup to get the curves back. The adapter and the checkpoints are not affected.</source>
            <translation>Stellen Sie die Datei aus einer Sicherung wieder her, um die Kurven zurückzubekommen. Adapter und Checkpoints sind nicht betroffen.</translation>
        </message>
        <message>
            <source>Restore the file from a backup, or resume the training, which writes the adapter and the record again from the last checkpoint.</source>
            <translation>Stellen Sie die Datei aus einer Sicherung wieder her oder setzen Sie das Training fort: Es schreibt den Adapter und das Protokoll aus dem letzten Checkpoint neu.</translation>
        </message>
        <message>
            <source>Restore the file from a backup, or resume the training, which writes the adapter and the record again from the last checkpoint. The damaged file is kept as {aside}.</source>
            <translation>Stellen Sie die Datei aus einer Sicherung wieder her oder setzen Sie das Training fort: Es schreibt den Adapter und das Protokoll aus dem letzten Checkpoint neu. Die beschädigte Datei bleibt als {aside} erhalten.</translation>
        </message>
        <message>
            <source>Restore the file from a backup. To accept the settings in it, delete its first line.</source>
            <translation>Stellen Sie die Datei aus einer Sicherung wieder her. Um die enthaltenen Einstellungen zu übernehmen, löschen Sie die erste Zeile.</translation>
        </message>
        <message>
            <source>Restore the folder from a backup, or resume the training, which writes it again from the last checkpoint.</source>
            <translation>Stellen Sie den Ordner aus einer Sicherung wieder her, oder setzen Sie das Training fort, das ihn aus dem letzten Checkpoint neu schreibt.</translation>
        </message>
        <message>
            <source>Restore the folder from a backup.</source>
            <translation>Stellen Sie den Ordner aus einer Sicherung wieder her.</translation>
        </message>
        <message>
            <source>Restore the model that the adapter was trained on. To merge into another one, choose it on the Merge page.</source>
            <translation>Stellen Sie das Modell wieder her, auf dem der Adapter trainiert wurde. Um mit einem anderen zusammenzuführen, wählen Sie es auf der Seite „Zusammenführen“.</translation>
        </message>
        <message>
            <source>Restore the teacher that the training started with, or start a new run.</source>
            <translation>Stellen Sie den Lehrer wieder her, mit dem das Training begonnen hat, oder starten Sie einen neuen Lauf.</translation>
        </message>
        <message>
            <source>Result</source>
            <translation>Ergebnis</translation>
        </message>
        <message>
            <source>Results</source>
            <translation>Ergebnisse</translation>
        </message>
        <message>
            <source>Resume</source>
            <translation>Fortsetzen</translation>
        </message>
        <message>
            <source>Resume download ({size})</source>
            <translation>Download fortsetzen ({size})</translation>
        </message>
        <message>
            <source>Resume to continue from the checkpoint at step {step}.</source>
            <translation>Setzen Sie fort, um beim Checkpoint von Schritt {step} weiterzumachen.</translation>
        </message>
        <message>
            <source>Resume with a smaller micro-batch, shorter rows, or gradient checkpointing.</source>
            <translation>Setzen Sie mit kleinerem Mikro-Batch, kürzeren Zeilen oder Gradient Checkpointing fort.</translation>
        </message>
        <message>
            <source>Resume {name}</source>
            <translation>{name} fortsetzen</translation>
        </message>
        <message>
            <source>Resumes training from the last checkpoint</source>
            <translation>Setzt das Training beim letzten Checkpoint fort</translation>
        </message>
        <message>
            <source>Resumes unfinished runs and repeats finished ones</source>
            <translation>Setzt unfertige Läufe fort und wiederholt fertige</translation>
        </message>
        <message>
            <source>Review code…</source>
            <translation>Code prüfen …</translation>
        </message>
        <message>
            <source>Review the code. If you trust it, allow it on the Model page, or run `lora-studio --trust {digest} …`. Otherwise, turn off “Trust remote code”.</source>
            <translation>Prüfen Sie den Code. Wenn Sie ihm vertrauen, erlauben Sie ihn auf der Seite Modell, oder starten Sie `lora-studio --trust {digest} …`. Schalten Sie sonst „Remote-Code vertrauen“ aus.</translation>
        </message>
        <message>
            <source>Review the code. If you trust it, allow it on the Train page, or run `lora-studio --trust {digest} …`. Otherwise, remove this reward.</source>
            <translation>Prüfen Sie den Code. Wenn Sie ihm vertrauen, erlauben Sie ihn auf der Seite Training, oder führen Sie `lora-studio --trust {digest} …` aus. Entfernen Sie andernfalls diese Belohnung.</translation>
        </message>
        <message>
            <source>Review them. If you trust them, allow them on the Export page, or run `lora-studio --trust {digest} …`. Otherwise, leave the llama.cpp field empty.</source>
            <translation>Prüfen Sie die Programme. Wenn Sie ihnen vertrauen, erlauben Sie sie auf der Seite Export, oder starten Sie `lora-studio --trust {digest} …`. Lassen Sie sonst das Feld llama.cpp leer.</translation>
        </message>
        <message>
            <source>Review…</source>
            <translation>Prüfen …</translation>
        </message>
        <message>
            <source>Revision</source>
            <translation>Revision</translation>
        </message>
        <message>
            <source>Reward</source>
            <translation>Belohnung</translation>
        </message>
        <message>
            <source>Reward accuracy</source>
            <translation>Reward-Genauigkeit</translation>
        </message>
        <message>
            <source>Reward curve</source>
            <translation>Belohnungskurve</translation>
        </message>
        <message>
            <source>Reward margin</source>
            <translation>Reward-Abstand</translation>
        </message>
        <message>
            <source>Reward method</source>
            <translation>Belohnungsmethode</translation>
        </message>
        <message>
            <source>Reward model</source>
            <translation>Belohnungsmodell</translation>
        </message>
        <message>
            <source>Reward models, classifiers, and embedding models can't be trained with an initialization that changes the base weights.</source>
            <translation>Belohnungsmodelle, Klassifikatoren und Embedding-Modelle können nicht mit einer Initialisierung trainiert werden, die die Gewichte des Basismodells ändert.</translation>
        </message>
        <message>
            <source>Reward models, classifiers, and embedding models can't be trained with new tokens.</source>
            <translation>Belohnungsmodelle, Klassifikatoren und Embedding-Modelle können nicht mit neuen Token trainiert werden.</translation>
        </message>
        <message>
            <source>Reward spread</source>
            <translation>Streuung der Belohnung</translation>
        </message>
        <message>
            <source>Reward training isn't available for this architecture, because answers to a prompt can't share its attention cache.</source>
            <translation>Das Training mit Belohnungen ist für diese Architektur nicht verfügbar, weil Antworten auf einen Prompt dessen Attention-Cache nicht gemeinsam nutzen können.</translation>
        </message>
        <message>
            <source>Reward training isn't available with Unsloth, which changes how the model writes answers.</source>
            <translation>Das Training mit Belohnungen ist mit Unsloth nicht verfügbar, weil es ändert, wie das Modell Antworten schreibt.</translation>
        </message>
        <message>
            <source>Reward “{reward}”: {fault}</source>
            <translation>Belohnung „{reward}“: {fault}</translation>
        </message>
        <message>
            <source>Rewards</source>
            <translation>Belohnungen</translation>
        </message>
        <message>
            <source>Robust</source>
            <translation>Robust</translation>
        </message>
        <message>
            <source>Roll back</source>
            <translation>Zurücknehmen</translation>
        </message>
        <message>
            <source>Romanian</source>
            <translation>Rumänisch</translation>
        </message>
        <message>
            <source>Row</source>
            <translation>Zeile</translation>
        </message>
        <message>
            <source>Row lengths</source>
            <translation>Zeilenlängen</translation>
        </message>
        <message>
            <source>Row view</source>
            <translation>Ansicht der Zeile</translation>
        </message>
        <message numerus="yes">
            <source>Row {number:d} doesn't exist: the source has {n} rows.</source>
            <translation>
                <numerusform>Zeile {number:d} gibt es nicht: Die Quelle hat {n} Zeile.</numerusform>
                <numerusform>Zeile {number:d} gibt es nicht: Die Quelle hat {n} Zeilen.</numerusform>
            </translation>
        </message>
        <message>
            <source>Row {number} with this mapping</source>
            <translation>Zeile {number} mit dieser Zuordnung</translation>
        </message>
        <message>
            <source>Row {row:d} is skipped: {reason}.</source>
            <translation>Zeile {row:d} wird übersprungen: {reason}.</translation>
        </message>
        <message>
            <source>Rows</source>
            <translation>Zeilen</translation>
        </message>
        <message>
            <source>Rows are packed; FlashAttention computes all of them at once.</source>
            <translation>Zeilen werden gepackt; FlashAttention berechnet alle auf einmal.</translation>
        </message>
        <message>
            <source>Rows are packed; attention is computed row by row.</source>
            <translation>Zeilen werden gepackt; die Attention wird Zeile für Zeile berechnet.</translation>
        </message>
        <message>
            <source>Rows are padded to the longest in their micro-batch.</source>
            <translation>Zeilen werden auf die längste ihres Mikro-Batches aufgefüllt.</translation>
        </message>
        <message>
            <source>Rows are truncated after this many tokens. Plain text is split into pieces of this length. Longer sequences use more memory.</source>
            <translation>Zeilen werden nach so vielen Tokens abgeschnitten. Reiner Text wird in Stücke dieser Länge geteilt. Längere Sequenzen brauchen mehr Speicher.</translation>
        </message>
        <message>
            <source>Rows by their actual label (rows) and the number of the predicted one (columns)</source>
            <translation>Zeilen nach ihrem tatsächlichen Label (Zeilen) und der Nummer des vorhergesagten (Spalten)</translation>
        </message>
        <message>
            <source>Rows measured</source>
            <translation>Gemessene Zeilen</translation>
        </message>
        <message>
            <source>Rows of the dataset</source>
            <translation>Zeilen des Datensatzes</translation>
        </message>
        <message>
            <source>Rows per test set</source>
            <translation>Zeilen je Testsatz</translation>
        </message>
        <message>
            <source>Rows processed at once. Memory grows with it.</source>
            <translation>Zeilen, die gleichzeitig verarbeitet werden. Der Speicherbedarf wächst mit.</translation>
        </message>
        <message>
            <source>Rows that are too long</source>
            <translation>Zu lange Zeilen</translation>
        </message>
        <message>
            <source>Rows to measure the eval loss on, instead of a share of the data. Same format as the data.</source>
            <translation>Zeilen, auf denen der Eval-Loss gemessen wird, statt eines Anteils der Daten. Gleiches Format wie die Daten.</translation>
        </message>
        <message>
            <source>Rows to train on weren't counted</source>
            <translation>Trainingszeilen wurden nicht gezählt</translation>
        </message>
        <message>
            <source>Rows weren't measured</source>
            <translation>Zeilen wurden nicht gemessen</translation>
        </message>
        <message>
            <source>Rows with different columns</source>
            <translation>Zeilen mit anderen Spalten</translation>
        </message>
        <message>
            <source>Rows with findings</source>
            <translation>Zeilen mit Befund</translation>
        </message>
        <message>
            <source>Run</source>
            <translation>Lauf</translation>
        </message>
        <message>
            <source>Run `lora-studio engine repair`. Full details are in the log.</source>
            <translation>Führen Sie `lora-studio engine repair` aus. Alle Einzelheiten stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Run `pip install bitsandbytes`, or choose 16-bit precision.</source>
            <translation>Führen Sie `pip install bitsandbytes` aus oder wählen Sie 16-Bit-Genauigkeit.</translation>
        </message>
        <message>
            <source>Run `pip install {package}`, or choose the unquantized original and 4-bit precision.</source>
            <translation>Führen Sie `pip install {package}` aus oder wählen Sie das unquantisierte Original und 4-Bit-Genauigkeit.</translation>
        </message>
        <message>
            <source>Run `sudo apt install {packages}`, or the equivalent for your system. Without it, Liger kernels, torch.compile, and Unsloth can't be used: training is slower, with the same result.</source>
            <translation>Führe `sudo apt install {packages}` aus oder den entsprechenden Befehl deines Systems. Ohne das lassen sich Liger-Kernel, torch.compile und Unsloth nicht nutzen: Das Training ist langsamer, das Ergebnis gleich.</translation>
        </message>
        <message>
            <source>Run again</source>
            <translation>Erneut ausführen</translation>
        </message>
        <message>
            <source>Run details</source>
            <translation>Details zum Lauf</translation>
        </message>
        <message>
            <source>Run queued. It starts when the current job finishes.</source>
            <translation>Lauf in die Warteschlange gestellt. Er startet, wenn der laufende Auftrag beendet ist.</translation>
        </message>
        <message>
            <source>Run queued. Start it in the window that has the project open for editing.</source>
            <translation>Lauf in die Warteschlange gestellt. Starten Sie ihn in dem Fenster, in dem das Projekt zum Bearbeiten geöffnet ist.</translation>
        </message>
        <message>
            <source>Run settings</source>
            <translation>Einstellungen des Laufs</translation>
        </message>
        <message>
            <source>Run the GGUF file with llama.cpp's llama-server or LM Studio, which use the trained chat template. Ollama can't be told to.</source>
            <translation>Verwenden Sie die GGUF-Datei mit llama-server aus llama.cpp oder mit LM Studio, die die trainierte Chat-Vorlage benutzen. Bei Ollama lässt sich das nicht einstellen.</translation>
        </message>
        <message>
            <source>Run the Python code in {file}.</source>
            <translation>Den Python-Code in {file} ausführen.</translation>
        </message>
        <message>
            <source>Run the Python code of the model {model}.</source>
            <translation>Python-Code des Modells {model} ausführen.</translation>
        </message>
        <message>
            <source>Run the chat on the CPU, or wait until the job finishes.</source>
            <translation>Lassen Sie den Chat auf der CPU laufen oder warten Sie, bis der Auftrag fertig ist.</translation>
        </message>
        <message>
            <source>Run the llama.cpp programs in {folder}.</source>
            <translation>Die llama.cpp-Programme in {folder} ausführen.</translation>
        </message>
        <message>
            <source>Run the self-test again, which writes the file again.</source>
            <translation>Führen Sie den Selbsttest erneut aus: Er schreibt die Datei neu.</translation>
        </message>
        <message>
            <source>Run “git lfs pull” or download the file, then choose it.</source>
            <translation>Führen Sie „git lfs pull“ aus oder laden Sie die Datei herunter, und wählen Sie sie dann aus.</translation>
        </message>
        <message>
            <source>Running</source>
            <translation>Läuft</translation>
        </message>
        <message>
            <source>Running the self-test</source>
            <translation>Selbsttest läuft</translation>
        </message>
        <message>
            <source>Runs</source>
            <translation>Läufe</translation>
        </message>
        <message>
            <source>Runs and Playground</source>
            <translation>Läufe und Playground</translation>
        </message>
        <message>
            <source>Runs without completed steps have no metrics to plot.</source>
            <translation>Läufe ohne abgeschlossene Schritte haben keine Metriken.</translation>
        </message>
        <message>
            <source>Russian</source>
            <translation>Russisch</translation>
        </message>
        <message>
            <source>SGD with momentum</source>
            <translation>SGD mit Momentum</translation>
        </message>
        <message>
            <source>SGD, schedule-free</source>
            <translation>SGD, schedule-free</translation>
        </message>
        <message>
            <source>SQLite</source>
            <translation>SQLite</translation>
        </message>
        <message>
            <source>SVD</source>
            <translation>SVD</translation>
        </message>
        <message>
            <source>Same as the base model</source>
            <translation>Wie das Basismodell</translation>
        </message>
        <message>
            <source>Same question, different answers</source>
            <translation>Gleiche Frage, verschiedene Antworten</translation>
        </message>
        <message>
            <source>Same role twice in a row</source>
            <translation>Gleiche Rolle zweimal nacheinander</translation>
        </message>
        <message>
            <source>Same text, different labels</source>
            <translation>Gleicher Text, verschiedene Labels</translation>
        </message>
        <message>
            <source>Sample project</source>
            <translation>Beispielprojekt</translation>
        </message>
        <message>
            <source>Sample prompts</source>
            <translation>Beispiel-Prompts</translation>
        </message>
        <message>
            <source>Sample rows</source>
            <translation>Beispielzeilen</translation>
        </message>
        <message>
            <source>Samples</source>
            <translation>Beispiele</translation>
        </message>
        <message>
            <source>Samples only from the most likely tokens whose probabilities add up to this.</source>
            <translation>Wählt nur unter den wahrscheinlichsten Tokens, deren Wahrscheinlichkeiten zusammen diesen Wert ergeben.</translation>
        </message>
        <message>
            <source>Samples only from the most likely tokens whose probabilities add up to this. 1 turns it off.</source>
            <translation>Wählt nur unter den wahrscheinlichsten Tokens, deren Wahrscheinlichkeiten zusammen diesen Wert ergeben. 1 schaltet es aus.</translation>
        </message>
        <message>
            <source>Samples only from this many of the most likely tokens. 0 turns it off.</source>
            <translation>Wählt nur unter so vielen der wahrscheinlichsten Tokens. 0 schaltet es aus.</translation>
        </message>
        <message>
            <source>Samples only from tokens whose probability is at least this fraction of the highest one. 0 turns it off.</source>
            <translation>Wählt nur unter Tokens, die mindestens diesen Anteil der höchsten Wahrscheinlichkeit haben. 0 schaltet es aus.</translation>
        </message>
        <message>
            <source>Samples the completions of reward training from the most likely tokens that together reach this probability. 1 allows all tokens, as the method assumes.</source>
            <translation>Wählt die Token der Antworten beim Training mit Belohnungen aus den wahrscheinlichsten, die zusammen diese Wahrscheinlichkeit erreichen. 1 erlaubt alle Token, wie es die Methode voraussetzt.</translation>
        </message>
        <message>
            <source>Sampling</source>
            <translation>Sampling</translation>
        </message>
        <message>
            <source>Sampling settings</source>
            <translation>Sampling-Einstellungen</translation>
        </message>
        <message>
            <source>Sampling temperature</source>
            <translation>Sampling-Temperatur</translation>
        </message>
        <message>
            <source>Sampling top-p</source>
            <translation>Sampling-Top-p</translation>
        </message>
        <message>
            <source>Save</source>
            <translation>Speichern</translation>
        </message>
        <message>
            <source>Save as</source>
            <translation>Speichern unter</translation>
        </message>
        <message>
            <source>Save as…</source>
            <translation>Speichern unter…</translation>
        </message>
        <message>
            <source>Save chart as image</source>
            <translation>Diagramm als Bild speichern</translation>
        </message>
        <message>
            <source>Save checkpoint</source>
            <translation>Checkpoint sichern</translation>
        </message>
        <message>
            <source>Save it again as a plain LoRA adapter. In PEFT, use save_pretrained(…, path_initial_model_for_weight_conversion=…).</source>
            <translation>Speichern Sie ihn erneut als einfachen LoRA-Adapter, in PEFT mit save_pretrained(…, path_initial_model_for_weight_conversion=…).</translation>
        </message>
        <message>
            <source>Save it again in PEFT with save_pretrained(…, path_initial_model_for_weight_conversion=…).</source>
            <translation>Speichern Sie ihn in PEFT erneut mit save_pretrained(…, path_initial_model_for_weight_conversion=…).</translation>
        </message>
        <message>
            <source>Save it again in PEFT with the head among modules_to_save.</source>
            <translation>Speichern Sie ihn in PEFT erneut, mit dem Kopf unter modules_to_save.</translation>
        </message>
        <message>
            <source>Save it as CSV (UTF-8) or as plain text.</source>
            <translation>Speichern Sie sie als CSV (UTF-8) oder als reinen Text.</translation>
        </message>
        <message>
            <source>Save it as JSON lines, in pandas with orient="records" and lines=True.</source>
            <translation>Speichere die Datei als JSON Lines, in pandas mit orient="records" und lines=True.</translation>
        </message>
        <message>
            <source>Save it as JSON or JSON lines.</source>
            <translation>Speichern Sie die Datei als JSON oder JSON-Zeilen.</translation>
        </message>
        <message>
            <source>Save it as plain text.</source>
            <translation>Speichern Sie es als reinen Text.</translation>
        </message>
        <message>
            <source>Save its rows as Parquet, CSV, or JSON lines.</source>
            <translation>Speichern Sie ihre Zeilen als Parquet, CSV oder JSON-Zeilen.</translation>
        </message>
        <message>
            <source>Save metrics as CSV</source>
            <translation>Metriken als CSV speichern</translation>
        </message>
        <message>
            <source>Save picture…</source>
            <translation>Bild speichern…</translation>
        </message>
        <message>
            <source>Save the changes to {name}?</source>
            <translation>Änderungen an {name} speichern?</translation>
        </message>
        <message>
            <source>Save the diagnostics file</source>
            <translation>Diagnosedatei speichern</translation>
        </message>
        <message>
            <source>Save the rows as JSON lines or Parquet.</source>
            <translation>Speichern Sie die Zeilen als JSON-Zeilen oder Parquet.</translation>
        </message>
        <message>
            <source>Save these files as one ZIP file to attach to a bug report. Your home folder, names, keys, and the text of your data are removed. Review the files and clear those you don't want to share.</source>
            <translation>Speichern Sie diese Dateien als eine ZIP-Datei, um sie einem Fehlerbericht beizufügen. Ihr Benutzerordner, Namen, Schlüssel und die Texte Ihrer Daten sind entfernt. Sehen Sie die Dateien durch und wählen Sie ab, was Sie nicht weitergeben möchten.</translation>
        </message>
        <message>
            <source>Save values…</source>
            <translation>Werte speichern…</translation>
        </message>
        <message>
            <source>Saved to {file}.</source>
            <translation>In {file} gespeichert.</translation>
        </message>
        <message>
            <source>Saved to {folder}. Copy it to the cluster and follow its README.md.</source>
            <translation>In {folder} gespeichert. Kopieren Sie den Ordner auf den Cluster und folgen Sie seiner README.md.</translation>
        </message>
        <message>
            <source>Saved {file} to {folder}.</source>
            <translation>{file} wurde in {folder} gespeichert.</translation>
        </message>
        <message>
            <source>Saved {name} to {parent}.</source>
            <translation>{name} wurde in {parent} gespeichert.</translation>
        </message>
        <message>
            <source>Saves the adapter of the best evaluation at the end. Needs validation rows.</source>
            <translation>Speichert am Ende den Adapter der besten Auswertung. Braucht Validierungszeilen.</translation>
        </message>
        <message>
            <source>Save…</source>
            <translation>Speichern…</translation>
        </message>
        <message>
            <source>Saving</source>
            <translation>Speichern</translation>
        </message>
        <message>
            <source>Saving a checkpoint every {every} epochs never happens in {epochs} epochs.</source>
            <translation>Ein Checkpoint alle {every} Epochen kommt bei {epochs} Epochen nie vor.</translation>
        </message>
        <message>
            <source>Scale</source>
            <translation>Skalierung</translation>
        </message>
        <message>
            <source>Scale of the difference between both responses in SimPO. 2 to 10 is common.</source>
            <translation>Skalierung des Unterschieds zwischen beiden Antworten bei SimPO. 2 bis 10 ist üblich.</translation>
        </message>
        <message>
            <source>Scales the update by alpha / rank. One or two times the rank is common.</source>
            <translation>Skaliert das Update mit Alpha / Rang. Das Ein- oder Zweifache des Rangs ist üblich.</translation>
        </message>
        <message>
            <source>Scales the update by alpha / √rank instead of alpha / rank, so that high ranks learn as fast as low ones (rsLoRA, Kalajdzievski 2023). Useful from rank 64.</source>
            <translation>Skaliert das Update mit Alpha / √Rang statt Alpha / Rang, damit hohe Ränge so schnell lernen wie niedrige (rsLoRA, Kalajdzievski 2023). Sinnvoll ab Rang 64.</translation>
        </message>
        <message>
            <source>Schema file</source>
            <translation>Schemadatei</translation>
        </message>
        <message>
            <source>Score</source>
            <translation>Bewertung</translation>
        </message>
        <message>
            <source>Scored rows</source>
            <translation>Bewertete Zeilen</translation>
        </message>
        <message>
            <source>Scores</source>
            <translation>Werte</translation>
        </message>
        <message>
            <source>Scores or labels of texts: can't chat</source>
            <translation>Bewertungen oder Labels von Texten: kann nicht chatten</translation>
        </message>
        <message>
            <source>Search</source>
            <translation>Suchen</translation>
        </message>
        <message>
            <source>Search benchmarks</source>
            <translation>Benchmarks suchen</translation>
        </message>
        <message>
            <source>Search by name or dataset, such as arc</source>
            <translation>Nach Name oder Datensatz suchen, zum Beispiel arc</translation>
        </message>
        <message>
            <source>Search by name or organization. Leave the field empty to list the most downloaded models.</source>
            <translation>Suchen Sie nach Name oder Organisation. Ein leeres Feld listet die am häufigsten heruntergeladenen Modelle auf.</translation>
        </message>
        <message>
            <source>Search in all rows, ignoring case (Ctrl+F)</source>
            <translation>In allen Zeilen suchen, ohne Beachtung der Groß- und Kleinschreibung (Strg+F)</translation>
        </message>
        <message>
            <source>Search names, models, data, tags, notes, or settings, such as rank=64 (Ctrl+F)</source>
            <translation>Namen, Modelle, Daten, Tags, Notizen oder Einstellungen durchsuchen, etwa rank=64 (Strg+F)</translation>
        </message>
        <message>
            <source>Search results</source>
            <translation>Suchergebnisse</translation>
        </message>
        <message>
            <source>Search rows</source>
            <translation>Zeilen suchen</translation>
        </message>
        <message>
            <source>Search runs</source>
            <translation>Läufe suchen</translation>
        </message>
        <message>
            <source>Search settings, commands, pages, and projects</source>
            <translation>Einstellungen, Befehle, Seiten und Projekte suchen</translation>
        </message>
        <message>
            <source>Search the Hub</source>
            <translation>Hub durchsuchen</translation>
        </message>
        <message>
            <source>Search with `lora-studio benchmarks TEXT`.</source>
            <translation>Suchen Sie mit `lora-studio benchmarks TEXT`.</translation>
        </message>
        <message>
            <source>Searching for adapters…</source>
            <translation>Adapter werden gesucht…</translation>
        </message>
        <message>
            <source>Searching the Hub</source>
            <translation>Hub wird durchsucht</translation>
        </message>
        <message>
            <source>Searching the Hub…</source>
            <translation>Der Hub wird durchsucht…</translation>
        </message>
        <message>
            <source>Searching…</source>
            <translation>Wird gesucht…</translation>
        </message>
        <message>
            <source>Second setting</source>
            <translation>Zweite Einstellung</translation>
        </message>
        <message>
            <source>See the warning above.</source>
            <translation>Siehe die Warnung oben.</translation>
        </message>
        <message>
            <source>Seed</source>
            <translation>Seed</translation>
        </message>
        <message>
            <source>Seed for the order of rows, the validation split, and the initialization of the adapter.</source>
            <translation>Seed für die Reihenfolge der Zeilen, die Aufteilung in Training und Validierung und die Initialisierung des Adapters.</translation>
        </message>
        <message>
            <source>Select GGUF file</source>
            <translation>GGUF-Datei auswählen</translation>
        </message>
        <message>
            <source>Select a format to map its fields to columns.</source>
            <translation>Wählen Sie ein Format, um seine Felder Spalten zuzuordnen.</translation>
        </message>
        <message>
            <source>Select a model to see its size, license, and memory use.</source>
            <translation>Wählen Sie ein Modell, um Größe, Lizenz und Speicherbedarf zu sehen.</translation>
        </message>
        <message>
            <source>Select a model to see the number of trainable parameters.</source>
            <translation>Wählen Sie ein Modell, um die Zahl der trainierbaren Parameter zu sehen.</translation>
        </message>
        <message>
            <source>Select a model to see the tokens of this row.</source>
            <translation>Wählen Sie ein Modell, um die Tokens dieser Zeile zu sehen.</translation>
        </message>
        <message>
            <source>Select a run to see its settings, or several to compare them.</source>
            <translation>Wählen Sie einen Lauf aus, um seine Einstellungen zu sehen, oder mehrere, um sie zu vergleichen.</translation>
        </message>
        <message>
            <source>Select adapter folder</source>
            <translation>Adapterordner auswählen</translation>
        </message>
        <message>
            <source>Select model folder</source>
            <translation>Modellordner auswählen</translation>
        </message>
        <message>
            <source>Select test file</source>
            <translation>Testdatei auswählen</translation>
        </message>
        <message>
            <source>Select two or more adapters in the list to combine them into one.</source>
            <translation>Wählen Sie in der Liste zwei oder mehr Adapter aus, um sie zu einem zu kombinieren.</translation>
        </message>
        <message>
            <source>Self-test</source>
            <translation>Selbsttest</translation>
        </message>
        <message>
            <source>Send</source>
            <translation>Senden</translation>
        </message>
        <message>
            <source>Send (Enter or Ctrl+Enter)</source>
            <translation>Senden (Eingabe oder Strg+Eingabe)</translation>
        </message>
        <message>
            <source>Send prompts and answers to the server at {host}.</source>
            <translation>Prompts und Antworten an den Server {host} senden.</translation>
        </message>
        <message>
            <source>Send the metrics of trainings to {tracker}.</source>
            <translation>Messwerte der Trainings an {tracker} senden.</translation>
        </message>
        <message>
            <source>Send the value of the environment variable {variable} to {host}.</source>
            <translation>Den Wert der Umgebungsvariable {variable} an {host} senden.</translation>
        </message>
        <message>
            <source>Send training's date as `date_string` in `chat_template_kwargs`, or choose a chat template without a date before training.</source>
            <translation>Senden Sie das Datum des Trainings als `date_string` in `chat_template_kwargs`, oder wählen Sie vor dem Training eine Chat-Vorlage ohne Datum.</translation>
        </message>
        <message>
            <source>Sent / received</source>
            <translation>Gesendet / empfangen</translation>
        </message>
        <message>
            <source>Sequence packing</source>
            <translation>Sequence Packing</translation>
        </message>
        <message>
            <source>Serbian</source>
            <translation>Serbisch</translation>
        </message>
        <message>
            <source>Serve</source>
            <translation>Bereitstellen</translation>
        </message>
        <message>
            <source>Serve it separately for the prompts that it was trained on.</source>
            <translation>Stellen Sie ihn getrennt bereit, damit er die Prompts erhält, mit denen er trainiert wurde.</translation>
        </message>
        <message>
            <source>Serve runs of different base models separately, each with its own port.</source>
            <translation>Stellen Sie Läufe verschiedener Basismodelle getrennt bereit, jeden mit eigenem Port.</translation>
        </message>
        <message>
            <source>Server</source>
            <translation>Server</translation>
        </message>
        <message>
            <source>Serving runs llama-server, a program of llama.cpp, on this computer. The Export page shows which model and adapters it serves.</source>
            <translation>Beim Bereitstellen läuft llama-server, ein Programm von llama.cpp, auf diesem Computer. Die Seite „Export“ zeigt, welches Modell und welche Adapter es bereitstellt.</translation>
        </message>
        <message>
            <source>Serving the model</source>
            <translation>Modell bereitstellen</translation>
        </message>
        <message>
            <source>Set HOME to a folder that you can write to, or LORA_STUDIO_CACHE to another cache folder.</source>
            <translation>Setzen Sie HOME auf einen Ordner, in den Sie schreiben können, oder LORA_STUDIO_CACHE auf einen anderen Cache-Ordner.</translation>
        </message>
        <message>
            <source>Set HOME to a folder that you can write to, or LORA_STUDIO_CONFIG to another folder for settings. Then restart the app.</source>
            <translation>Setzen Sie HOME auf einen Ordner, in den Sie schreiben können, oder LORA_STUDIO_CONFIG auf einen anderen Ordner für Einstellungen. Starten Sie die App dann neu.</translation>
        </message>
        <message>
            <source>Set HOME to a folder that you can write to, or {variable} to the folder itself.</source>
            <translation>Setzen Sie HOME auf einen Ordner, in den Sie schreiben können, oder {variable} auf den Ordner selbst.</translation>
        </message>
        <message>
            <source>Set HTTPS_PROXY and HTTP_PROXY to the proxy's host and port, and remove ALL_PROXY. SOCKS proxies aren't supported.</source>
            <translation>Setzen Sie HTTPS_PROXY und HTTP_PROXY auf Host und Port des Proxys und entfernen Sie ALL_PROXY. SOCKS-Proxys werden nicht unterstützt.</translation>
        </message>
        <message>
            <source>Set a validation share on the Dataset page and train again.</source>
            <translation>Setzen Sie auf der Seite „Datensatz“ einen Validierungsanteil und trainieren Sie neu.</translation>
        </message>
        <message>
            <source>Set at least one weight. A weight of 1 merges an adapter as it was trained.</source>
            <translation>Setzen Sie mindestens ein Gewicht. Ein Gewicht von 1 führt einen Adapter so zusammen, wie er trainiert wurde.</translation>
        </message>
        <message>
            <source>Set by the adapter that training starts from.</source>
            <translation>Vorgegeben vom Adapter, mit dem das Training beginnt.</translation>
        </message>
        <message>
            <source>Set gradient checkpointing to On</source>
            <translation>Gradient Checkpointing auf „An“ stellen</translation>
        </message>
        <message>
            <source>Set gradient checkpointing to On, or the backend to Unsloth.</source>
            <translation>Stellen Sie Gradient Checkpointing auf „An“ oder das Backend auf „Unsloth“.</translation>
        </message>
        <message>
            <source>Set it to the key of the server before you start LoRA Studio.</source>
            <translation>Setzen Sie sie auf den Schlüssel des Servers, bevor Sie LoRA Studio starten.</translation>
        </message>
        <message>
            <source>Set it up in Settings, or run `lora-studio engine install`.</source>
            <translation>Richten Sie sie in den Einstellungen ein oder mit `lora-studio engine install`.</translation>
        </message>
        <message>
            <source>Set the backend to Automatic</source>
            <translation>Backend auf „Automatisch“ stellen</translation>
        </message>
        <message>
            <source>Set the backend to Automatic.</source>
            <translation>Stellen Sie das Backend auf „Automatisch“.</translation>
        </message>
        <message>
            <source>Set the computer's date and time, then start the setup again; completed downloads are kept. If they are correct, the certificate has expired: use another index, or a wheel folder from another computer.</source>
            <translation>Stellen Sie Datum und Uhrzeit des Computers richtig und starten Sie die Einrichtung erneut; fertige Downloads bleiben erhalten. Stimmen sie bereits, ist das Zertifikat abgelaufen: Verwenden Sie einen anderen Index oder einen Wheel-Ordner von einem anderen Computer.</translation>
        </message>
        <message>
            <source>Set the device to Automatic, which puts some layers on each GPU, or use 4-bit weights.</source>
            <translation>Stelle das Gerät auf „Automatisch“, dann bekommt jede GPU einige der Schichten, oder nutze 4-Bit-Gewichte.</translation>
        </message>
        <message>
            <source>Set the environment variable OLLAMA_HOST to {example} and restart LoRA Studio.</source>
            <translation>Setzen Sie die Umgebungsvariable OLLAMA_HOST auf {example} und starten Sie LoRA Studio neu.</translation>
        </message>
        <message>
            <source>Set this adapter's weight to 1.</source>
            <translation>Setzen Sie das Gewicht dieses Adapters auf 1.</translation>
        </message>
        <message>
            <source>Set up</source>
            <translation>Einrichten</translation>
        </message>
        <message>
            <source>Set up an engine in Settings: it gets the build of PyTorch for your GPU.</source>
            <translation>Richten Sie in den Einstellungen eine Engine ein: Sie bekommt die PyTorch-Version für Ihre GPU.</translation>
        </message>
        <message>
            <source>Set up the engine</source>
            <translation>Engine einrichten</translation>
        </message>
        <message>
            <source>Set up the engine…</source>
            <translation>Engine einrichten…</translation>
        </message>
        <message>
            <source>Set up…</source>
            <translation>Einrichten…</translation>
        </message>
        <message>
            <source>Setting</source>
            <translation>Einstellung</translation>
        </message>
        <message>
            <source>Settings</source>
            <translation>Einstellungen</translation>
        </message>
        <message>
            <source>Settings copied to the project. Use Undo to restore the previous settings.</source>
            <translation>Einstellungen in das Projekt übernommen. Mit „Rückgängig“ stellen Sie die vorherigen wieder her.</translation>
        </message>
        <message>
            <source>Settings from {run}</source>
            <translation>Einstellungen von {run}</translation>
        </message>
        <message>
            <source>Settings of the project, without texts and names.</source>
            <translation>Einstellungen des Projekts, ohne Texte und Namen.</translation>
        </message>
        <message>
            <source>Settings reference</source>
            <translation>Referenz der Einstellungen</translation>
        </message>
        <message>
            <source>Settings that fit: {change}.</source>
            <translation>Einstellungen, die passen: {change}.</translation>
        </message>
        <message>
            <source>Settings, metrics, adapter, merged model, and GGUF files ({size}) move to the trash.</source>
            <translation>Einstellungen, Metriken, Adapter, zusammengeführtes Modell und GGUF-Dateien ({size}) werden in den Papierkorb verschoben.</translation>
        </message>
        <message>
            <source>Setup canceled. Downloaded files are kept, and the next setup continues from there.</source>
            <translation>Einrichtung abgebrochen. Heruntergeladene Dateien bleiben erhalten, und die nächste Einrichtung macht dort weiter.</translation>
        </message>
        <message>
            <source>Shard</source>
            <translation>Aufteilen</translation>
        </message>
        <message>
            <source>Shard if they don't fit</source>
            <translation>Aufteilen, wenn sie nicht passen</translation>
        </message>
        <message>
            <source>Share</source>
            <translation>Anteil</translation>
        </message>
        <message>
            <source>Share of adapter inputs set to zero at random during training. 0 is fastest; 0.05 to 0.1 reduces overfitting on small datasets.</source>
            <translation>Anteil der Adaptereingaben, die beim Training zufällig auf null gesetzt werden. 0 ist am schnellsten; 0,05 bis 0,1 verringert Overfitting bei kleinen Datensätzen.</translation>
        </message>
        <message>
            <source>Share of all steps over which the learning rate rises from zero.</source>
            <translation>Anteil aller Schritte, über den die Lernrate von null ansteigt.</translation>
        </message>
        <message>
            <source>Share of all steps, at the end, over which the learning rate decays.</source>
            <translation>Anteil der Schritte am Ende, über den die Lernrate fällt.</translation>
        </message>
        <message>
            <source>Share of pairs whose responses you expect to be swapped. Only used by DPO's robust loss.</source>
            <translation>Anteil der Paare, deren Antworten vermutlich vertauscht sind. Wird nur vom robusten DPO-Verlust verwendet.</translation>
        </message>
        <message>
            <source>Share of queries that find their text among the first 10, at the lowest eval loss</source>
            <translation>Anteil der Suchanfragen, die ihren Text unter den ersten 10 finden, beim niedrigsten Eval-Loss</translation>
        </message>
        <message>
            <source>Share of rows held out to measure the eval loss. 0 turns evaluation off.</source>
            <translation>Anteil der Zeilen, die für den Eval-Loss zurückgehalten werden. 0 schaltet die Evaluation ab.</translation>
        </message>
        <message>
            <source>Share of the loss that comes from the teacher. The rest is the usual loss on your data. 1 learns from the teacher only.</source>
            <translation>Anteil des Loss, der vom Lehrer kommt. Der Rest ist der übliche Loss auf Ihren Daten. Bei 1 wird nur vom Lehrer gelernt.</translation>
        </message>
        <message>
            <source>Share of validation rows whose label is predicted, at the lowest eval loss</source>
            <translation>Anteil der Validierungszeilen, deren Label vorhergesagt wird, beim niedrigsten Eval-Loss</translation>
        </message>
        <message>
            <source>ShareGPT</source>
            <translation>ShareGPT</translation>
        </message>
        <message>
            <source>ShareGPT (conversations: from, value)</source>
            <translation>ShareGPT (conversations: from, value)</translation>
        </message>
        <message>
            <source>Short rows share micro-batches of up to {tokens} tokens, since memory allows it.</source>
            <translation>Kurze Zeilen teilen sich Mikro-Batches von bis zu {tokens} Token, weil der Speicher dafür reicht.</translation>
        </message>
        <message>
            <source>Shorter completions are rated lower.</source>
            <translation>Kürzere Antworten werden schlechter bewertet.</translation>
        </message>
        <message>
            <source>Show</source>
            <translation>Anzeigen</translation>
        </message>
        <message>
            <source>Show all</source>
            <translation>Alles anzeigen</translation>
        </message>
        <message>
            <source>Show all {count}</source>
            <translation>Alle {count} anzeigen</translation>
        </message>
        <message>
            <source>Show evaluation</source>
            <translation>Auswertung anzeigen</translation>
        </message>
        <message>
            <source>Show fewer</source>
            <translation>Weniger anzeigen</translation>
        </message>
        <message>
            <source>Show folder</source>
            <translation>Ordner zeigen</translation>
        </message>
        <message>
            <source>Show folder: {folder}</source>
            <translation>Ordner anzeigen: {folder}</translation>
        </message>
        <message>
            <source>Show last run</source>
            <translation>Letzten Lauf anzeigen</translation>
        </message>
        <message>
            <source>Show log</source>
            <translation>Protokoll anzeigen</translation>
        </message>
        <message>
            <source>Show optional fields: {fields}</source>
            <translation>Optionale Felder anzeigen: {fields}</translation>
        </message>
        <message>
            <source>Show prompt tokens</source>
            <translation>Tokens des Prompts anzeigen</translation>
        </message>
        <message>
            <source>Show raw text</source>
            <translation>Rohtext anzeigen</translation>
        </message>
        <message>
            <source>Show results</source>
            <translation>Ergebnisse zeigen</translation>
        </message>
        <message>
            <source>Show rows</source>
            <translation>Zeilen zeigen</translation>
        </message>
        <message>
            <source>Show rows: {title}</source>
            <translation>Zeilen zeigen: {title}</translation>
        </message>
        <message>
            <source>Show running job</source>
            <translation>Laufenden Auftrag anzeigen</translation>
        </message>
        <message>
            <source>Show running training</source>
            <translation>Laufendes Training anzeigen</translation>
        </message>
        <message>
            <source>Show setup progress…</source>
            <translation>Einrichtung anzeigen…</translation>
        </message>
        <message>
            <source>Show that window</source>
            <translation>Jenes Fenster zeigen</translation>
        </message>
        <message>
            <source>Show these rows</source>
            <translation>Diese Zeilen zeigen</translation>
        </message>
        <message numerus="yes">
            <source>Show these rows: rows {rows}</source>
            <translation>
                <numerusform>Diese Zeilen zeigen: Zeile {rows}</numerusform>
                <numerusform>Diese Zeilen zeigen: Zeilen {rows}</numerusform>
            </translation>
        </message>
        <message>
            <source>Show without training</source>
            <translation>Ohne Training zeigen</translation>
        </message>
        <message numerus="yes">
            <source>Show {n} more tokens</source>
            <translation>
                <numerusform>{n} weiteres Token anzeigen</numerusform>
                <numerusform>{n} weitere Tokens anzeigen</numerusform>
            </translation>
        </message>
        <message>
            <source>Shown in lists and curves. Empty for the name of its kind.</source>
            <translation>Erscheint in Listen und Kurven. Leer für den Namen ihrer Art.</translation>
        </message>
        <message>
            <source>Shown with the first prompt of the test sets; answers take the place of the parentheses.</source>
            <translation>Gezeigt mit dem ersten Prompt der Testsätze; anstelle der Klammern stehen die Antworten.</translation>
        </message>
        <message>
            <source>Shows this run on the Train, Merge, and Export pages</source>
            <translation>Zeigt diesen Lauf auf den Seiten „Training“, „Zusammenführen“ und „Export“</translation>
        </message>
        <message>
            <source>Shuffles the columns and hides the model names until you vote</source>
            <translation>Mischt die Spalten und verbirgt die Modellnamen, bis Sie abstimmen</translation>
        </message>
        <message>
            <source>Sigmoid</source>
            <translation>Sigmoid</translation>
        </message>
        <message>
            <source>Sign in</source>
            <translation>Anmelden</translation>
        </message>
        <message>
            <source>Sign in to Hugging Face</source>
            <translation>Bei Hugging Face anmelden</translation>
        </message>
        <message>
            <source>Sign in to Hugging Face…</source>
            <translation>Bei Hugging Face anmelden…</translation>
        </message>
        <message>
            <source>Sign in with `hf auth login`, or set HF_TOKEN to a token with write access.</source>
            <translation>Melden Sie sich mit `hf auth login` an oder setzen Sie HF_TOKEN auf ein Token mit Schreibzugriff.</translation>
        </message>
        <message>
            <source>Sign in with a token that has write access (`hf auth login`), and check the owner of the repository.</source>
            <translation>Melden Sie sich mit einem Token mit Schreibzugriff an (`hf auth login`) und prüfen Sie, wem das Repository gehört.</translation>
        </message>
        <message>
            <source>Sign in with a valid token that has read access.</source>
            <translation>Melden Sie sich mit einem gültigen Token an, das Lesezugriff hat.</translation>
        </message>
        <message>
            <source>Sign in…</source>
            <translation>Anmelden…</translation>
        </message>
        <message>
            <source>Sign out</source>
            <translation>Abmelden</translation>
        </message>
        <message>
            <source>Signed in as {name}</source>
            <translation>Angemeldet als {name}</translation>
        </message>
        <message>
            <source>Signing in</source>
            <translation>Anmeldung läuft</translation>
        </message>
        <message>
            <source>Signing out</source>
            <translation>Abmeldung läuft</translation>
        </message>
        <message>
            <source>SimPO</source>
            <translation>SimPO</translation>
        </message>
        <message>
            <source>SimPO beta</source>
            <translation>SimPO-Beta</translation>
        </message>
        <message>
            <source>Similarity</source>
            <translation>Ähnlichkeit</translation>
        </message>
        <message>
            <source>Similarity scale</source>
            <translation>Ähnlichkeitsfaktor</translation>
        </message>
        <message>
            <source>Six steps</source>
            <translation>Sechs Schritte</translation>
        </message>
        <message>
            <source>Size</source>
            <translation>Größe</translation>
        </message>
        <message>
            <source>Size of the run folder, including checkpoints</source>
            <translation>Größe des Laufordners einschließlich Checkpoints</translation>
        </message>
        <message>
            <source>Size on disk</source>
            <translation>Größe auf Datenträger</translation>
        </message>
        <message>
            <source>Skip</source>
            <translation>Überspringen</translation>
        </message>
        <message>
            <source>Skipped</source>
            <translation>Übersprungen</translation>
        </message>
        <message>
            <source>Skipped rows</source>
            <translation>Übersprungene Zeilen</translation>
        </message>
        <message>
            <source>Skipped: {reason}</source>
            <translation>Übersprungen: {reason}</translation>
        </message>
        <message>
            <source>Skype or Teams chats</source>
            <translation>Skype- oder Teams-Chats</translation>
        </message>
        <message>
            <source>Slack channel</source>
            <translation>Slack-Kanal</translation>
        </message>
        <message>
            <source>Slide</source>
            <translation>Folie</translation>
        </message>
        <message>
            <source>Slovak</source>
            <translation>Slowakisch</translation>
        </message>
        <message>
            <source>Slovenian</source>
            <translation>Slowenisch</translation>
        </message>
        <message>
            <source>Small</source>
            <translation>Klein</translation>
        </message>
        <message>
            <source>Smaller text</source>
            <translation>Kleinerer Text</translation>
        </message>
        <message>
            <source>Smaller values are clipped to it. Leave empty for no limit.</source>
            <translation>Kleinere Werte werden darauf begrenzt. Leer lassen für keine Grenze.</translation>
        </message>
        <message>
            <source>Smoothing</source>
            <translation>Glättung</translation>
        </message>
        <message>
            <source>Smoothing: mean over {share} of all steps</source>
            <translation>Glättung: Mittel über {share} aller Schritte</translation>
        </message>
        <message>
            <source>Smoothing: off</source>
            <translation>Glättung: aus</translation>
        </message>
        <message>
            <source>Some files couldn't be deleted: {reason}.</source>
            <translation>Einige Dateien konnten nicht gelöscht werden: {reason}.</translation>
        </message>
        <message>
            <source>Some models include their own Python code, which runs with your permissions. Allow it only for models whose author you trust.</source>
            <translation>Manche Modelle enthalten eigenen Python-Code, der mit Ihren Rechten läuft. Erlauben Sie ihn nur für Modelle, deren Autor Sie vertrauen.</translation>
        </message>
        <message>
            <source>Some of the fused layers that training started with aren't available now. It continues without them, with different rounding.</source>
            <translation>Einige der fusionierten Schichten, mit denen das Training begonnen hat, sind jetzt nicht verfügbar. Es läuft ohne sie weiter, mit anderer Rundung.</translation>
        </message>
        <message>
            <source>Sort by</source>
            <translation>Sortieren nach</translation>
        </message>
        <message>
            <source>Source</source>
            <translation>Quelle</translation>
        </message>
        <message numerus="yes">
            <source>Source {number:d} doesn't exist: the dataset has {n} sources.</source>
            <translation>
                <numerusform>Quelle {number:d} gibt es nicht: Der Datensatz hat {n} Quelle.</numerusform>
                <numerusform>Quelle {number:d} gibt es nicht: Der Datensatz hat {n} Quellen.</numerusform>
            </translation>
        </message>
        <message>
            <source>Spanish</source>
            <translation>Spanisch</translation>
        </message>
        <message>
            <source>Specify at least one linear layer, or choose another option.</source>
            <translation>Geben Sie mindestens eine lineare Schicht an oder treffen Sie eine andere Auswahl.</translation>
        </message>
        <message>
            <source>Split</source>
            <translation>Split</translation>
        </message>
        <message>
            <source>Start LM Studio once, or choose the folder on the Export page.</source>
            <translation>Starten Sie LM Studio einmal oder wählen Sie den Ordner auf der Seite „Export“.</translation>
        </message>
        <message>
            <source>Start a line with @120 to annotate step 120.</source>
            <translation>Zeilen mit @120 am Anfang gehören zu Schritt 120.</translation>
        </message>
        <message>
            <source>Start a new evaluation with fewer items or columns.</source>
            <translation>Starten Sie eine neue Auswertung mit weniger Aufgaben oder Spalten.</translation>
        </message>
        <message>
            <source>Start a new evaluation. Answers of models that haven't changed are reused.</source>
            <translation>Starten Sie eine neue Auswertung. Antworten unveränderter Modelle werden wiederverwendet.</translation>
        </message>
        <message>
            <source>Start a new evaluation. Answers that were computed before are reused.</source>
            <translation>Starten Sie eine neue Auswertung. Bereits berechnete Antworten werden wiederverwendet.</translation>
        </message>
        <message>
            <source>Start a new evaluation. If you trust this one, run `lora-studio --trust {digest} evaluate RUN --resume`.</source>
            <translation>Starten Sie eine neue Auswertung. Wenn Sie dieser vertrauen, führen Sie `lora-studio --trust {digest} evaluate RUN --resume` aus.</translation>
        </message>
        <message>
            <source>Start a new one.</source>
            <translation>Starten Sie eine neue.</translation>
        </message>
        <message>
            <source>Start a new run with the backend Automatic. If a warning names missing tools, you can also install them.</source>
            <translation>Beginnen Sie einen neuen Lauf mit dem Backend „Automatisch“. Wenn eine Warnung fehlende Werkzeuge nennt, können Sie auch diese installieren.</translation>
        </message>
        <message>
            <source>Start a run that merges this adapter into the project's model</source>
            <translation>Startet einen Lauf, der diesen Adapter mit dem Modell des Projekts zusammenführt</translation>
        </message>
        <message>
            <source>Start from adapter</source>
            <translation>Mit Adapter beginnen</translation>
        </message>
        <message>
            <source>Start from an adapter</source>
            <translation>Mit einem Adapter beginnen</translation>
        </message>
        <message>
            <source>Start now</source>
            <translation>Jetzt starten</translation>
        </message>
        <message>
            <source>Start queue</source>
            <translation>Starten</translation>
        </message>
        <message>
            <source>Start server</source>
            <translation>Server starten</translation>
        </message>
        <message>
            <source>Start the setup again; completed downloads are kept. Full details are in the log.</source>
            <translation>Starten Sie die Einrichtung erneut; fertige Downloads bleiben erhalten. Alle Einzelheiten stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Start the setup again; completed downloads are kept. If it fails again, check the file named here.</source>
            <translation>Starten Sie die Einrichtung erneut; fertige Downloads bleiben erhalten. Schlägt sie wieder fehl, prüfen Sie die hier genannte Datei.</translation>
        </message>
        <message>
            <source>Start the setup again; damaged files are downloaded again.</source>
            <translation>Starten Sie die Einrichtung erneut; beschädigte Dateien werden neu heruntergeladen.</translation>
        </message>
        <message>
            <source>Start this step again. If it happens again, restart the computer and update the GPU driver. Overheating and a weak power supply are other causes.</source>
            <translation>Starten Sie diesen Schritt noch einmal. Wenn es wieder passiert, starten Sie den Computer neu und aktualisieren Sie den GPU-Treiber. Weitere Ursachen sind Überhitzung und ein zu schwaches Netzteil.</translation>
        </message>
        <message>
            <source>Start training</source>
            <translation>Training starten</translation>
        </message>
        <message>
            <source>Started</source>
            <translation>Gestartet</translation>
        </message>
        <message>
            <source>Starting</source>
            <translation>Startet</translation>
        </message>
        <message>
            <source>Starting: {stage}…</source>
            <translation>Startet: {stage} …</translation>
        </message>
        <message>
            <source>Starting…</source>
            <translation>Startet…</translation>
        </message>
        <message>
            <source>Starts a line with the step number and marks the step in the chart (Ctrl+M)</source>
            <translation>Beginnt eine Zeile mit der Schrittnummer und markiert den Schritt im Diagramm (Strg+M)</translation>
        </message>
        <message>
            <source>Starts a new conversation; this one stays in the history</source>
            <translation>Beginnt eine neue Unterhaltung; diese bleibt im Verlauf</translation>
        </message>
        <message>
            <source>Starts a new run with the same settings</source>
            <translation>Startet einen neuen Lauf mit denselben Einstellungen</translation>
        </message>
        <message>
            <source>Starts a new run with the same settings, initialized from this adapter</source>
            <translation>Startet einen neuen Lauf mit denselben Einstellungen, ausgehend von diesem Adapter</translation>
        </message>
        <message>
            <source>Status</source>
            <translation>Status</translation>
        </message>
        <message>
            <source>Step</source>
            <translation>Schritt</translation>
        </message>
        <message>
            <source>Step {step}: all completions have the same reward. This is one of them.</source>
            <translation>Schritt {step}: Alle Antworten haben dieselbe Belohnung. Dies ist eine davon.</translation>
        </message>
        <message>
            <source>Step {step}: the completions with the highest and the lowest reward</source>
            <translation>Schritt {step}: die Antworten mit der höchsten und der niedrigsten Belohnung</translation>
        </message>
        <message>
            <source>Steps</source>
            <translation>Schritte</translation>
        </message>
        <message>
            <source>Steps or epochs between two checkpoints. 0 saves by time only, and at the end.</source>
            <translation>Schritte oder Epochen zwischen zwei Checkpoints. Bei 0 wird nur nach Zeit und am Ende gespeichert.</translation>
        </message>
        <message>
            <source>Steps or epochs between two evaluations on the validation rows. 0 evaluates after each epoch.</source>
            <translation>Schritte oder Epochen zwischen zwei Evaluationen auf den Validierungszeilen. Bei 0 wird nach jeder Epoche evaluiert.</translation>
        </message>
        <message>
            <source>Still measuring. These values cover the rows read so far.</source>
            <translation>Die Messung läuft noch. Die Werte gelten für die bisher gelesenen Zeilen.</translation>
        </message>
        <message>
            <source>Still to do:</source>
            <translation>Noch zu tun:</translation>
        </message>
        <message>
            <source>Stop</source>
            <translation>Anhalten</translation>
        </message>
        <message>
            <source>Stop and save</source>
            <translation>Beenden und sichern</translation>
        </message>
        <message>
            <source>Stop generating (Esc)</source>
            <translation>Generieren anhalten (Esc)</translation>
        </message>
        <message>
            <source>Stop running job</source>
            <translation>Laufenden Auftrag stoppen</translation>
        </message>
        <message>
            <source>Stop sequences</source>
            <translation>Stoppsequenzen</translation>
        </message>
        <message>
            <source>Stop sequences: {stops}</source>
            <translation>Stoppsequenzen: {stops}</translation>
        </message>
        <message>
            <source>Stop server</source>
            <translation>Server beenden</translation>
        </message>
        <message>
            <source>Stopped</source>
            <translation>Angehalten</translation>
        </message>
        <message>
            <source>Stopping after this step. The window then closes.</source>
            <translation>Stoppt nach diesem Schritt. Danach schließt sich das Fenster.</translation>
        </message>
        <message>
            <source>Stopping after this step…</source>
            <translation>Wird nach diesem Schritt beendet …</translation>
        </message>
        <message>
            <source>Stopping…</source>
            <translation>Wird gestoppt…</translation>
        </message>
        <message>
            <source>Strength of random noise added to the embeddings during training, which reduces overfitting on small datasets (Jain et al. 2023). 5 is common, 0 turns it off.</source>
            <translation>Stärke des zufälligen Rauschens auf den Embeddings beim Training, das Overfitting bei kleinen Datensätzen verringert (Jain et al. 2023). 5 ist üblich, 0 schaltet es ab.</translation>
        </message>
        <message>
            <source>Strength of this run's adapter in the merged model: 1 is as trained, 0.5 is half.</source>
            <translation>Stärke des Adapters dieses Laufs im zusammengeführten Modell: 1 wie trainiert, 0,5 die Hälfte.</translation>
        </message>
        <message>
            <source>Strip template markers from turns, remove rows that contain others</source>
            <translation>Vorlagenmarken an den Enden von Beiträgen entfernen, Zeilen mit weiteren Marken weglassen</translation>
        </message>
        <message>
            <source>Stronger dropout: reduces overfitting when you train on a small dataset for many epochs.</source>
            <translation>Stärkeres Dropout: weniger Overfitting, wenn ein kleiner Datensatz über viele Epochen trainiert wird.</translation>
        </message>
        <message>
            <source>Subset</source>
            <translation>Teilmenge</translation>
        </message>
        <message>
            <source>Subtitles</source>
            <translation>Untertitel</translation>
        </message>
        <message>
            <source>Summary</source>
            <translation>Zusammenfassung</translation>
        </message>
        <message>
            <source>Swedish</source>
            <translation>Schwedisch</translation>
        </message>
        <message>
            <source>Switch back to {name}</source>
            <translation>Zurück zu {name} wechseln</translation>
        </message>
        <message>
            <source>Switch now</source>
            <translation>Jetzt wechseln</translation>
        </message>
        <message>
            <source>System</source>
            <translation>System</translation>
        </message>
        <message>
            <source>System prompt</source>
            <translation>System-Prompt</translation>
        </message>
        <message numerus="yes">
            <source>TEMPLATE and chat template give the same tokens in {n} conversations.</source>
            <translation>
                <numerusform>TEMPLATE und Chat-Vorlage liefern in {n} Gespräch dieselben Token.</numerusform>
                <numerusform>TEMPLATE und Chat-Vorlage liefern in {n} Gesprächen dieselben Token.</numerusform>
            </translation>
        </message>
        <message>
            <source>TIES</source>
            <translation>TIES</translation>
        </message>
        <message>
            <source>Tags</source>
            <translation>Tags</translation>
        </message>
        <message>
            <source>Tags in order</source>
            <translation>Tags in Reihenfolge</translation>
        </message>
        <message>
            <source>Tags that all selected runs share. Other tags are kept.</source>
            <translation>Tags, die alle ausgewählten Läufe gemeinsam haben. Andere Tags bleiben erhalten.</translation>
        </message>
        <message>
            <source>Take the tour</source>
            <translation>Tour starten</translation>
        </message>
        <message>
            <source>Tamil</source>
            <translation>Tamil</translation>
        </message>
        <message>
            <source>Target margin</source>
            <translation>Zielabstand</translation>
        </message>
        <message>
            <source>Target modules</source>
            <translation>Zielmodule</translation>
        </message>
        <message>
            <source>Target modules in every block: {layers}.</source>
            <translation>Zielmodule in jedem Block: {layers}.</translation>
        </message>
        <message>
            <source>Teacher</source>
            <translation>Lehrer</translation>
        </message>
        <message>
            <source>Teacher precision</source>
            <translation>Genauigkeit des Lehrers</translation>
        </message>
        <message>
            <source>Teacher tokens</source>
            <translation>Tokens des Lehrers</translation>
        </message>
        <message>
            <source>Teacher weight</source>
            <translation>Gewicht des Lehrers</translation>
        </message>
        <message>
            <source>Telegram chats</source>
            <translation>Telegram-Chats</translation>
        </message>
        <message>
            <source>Temperature</source>
            <translation>Temperatur</translation>
        </message>
        <message>
            <source>Temperature {temperature} · {count} tokens</source>
            <translation>Temperatur {temperature} · {count} Tokens</translation>
        </message>
        <message>
            <source>Template for {name}</source>
            <translation>Vorlage für {name}</translation>
        </message>
        <message>
            <source>Template…</source>
            <translation>Vorlage…</translation>
        </message>
        <message>
            <source>TensorBoard</source>
            <translation>TensorBoard</translation>
        </message>
        <message>
            <source>Tensors to update</source>
            <translation>Zu ändernde Tensoren</translation>
        </message>
        <message>
            <source>Test set</source>
            <translation>Testsatz</translation>
        </message>
        <message>
            <source>Test sets</source>
            <translation>Testsätze</translation>
        </message>
        <message>
            <source>Testing the engine</source>
            <translation>Engine wird getestet</translation>
        </message>
        <message>
            <source>Text</source>
            <translation>Text</translation>
        </message>
        <message>
            <source>Text outside the tags counts as a fault.</source>
            <translation>Text außerhalb der Tags zählt als Fehler.</translation>
        </message>
        <message>
            <source>Text size</source>
            <translation>Textgröße</translation>
        </message>
        <message>
            <source>Text that the judge receives</source>
            <translation>Text, den der Richter erhält</translation>
        </message>
        <message>
            <source>Text to find</source>
            <translation>Gesuchter Text</translation>
        </message>
        <message>
            <source>Text was decoded with the wrong encoding in {rows}, such as “Ã©” for “é”. The model would learn to write it.</source>
            <translation>In {rows} wurde Text mit der falschen Kodierung gelesen, etwa „Ã©“ für „é“. Das Modell würde lernen, so zu schreiben.</translation>
        </message>
        <message>
            <source>Texts</source>
            <translation>Texte</translation>
        </message>
        <message>
            <source>Texts that become one token each, such as &lt;tool&gt; and &lt;/tool&gt;. Their rows of the embedding and the output layer are trained with the adapter. Training keeps a copy of both layers in memory.</source>
            <translation>Texte, aus denen je ein Token wird, etwa &lt;tool&gt; und &lt;/tool&gt;. Ihre Zeilen in der Einbettungs- und der Ausgabeschicht werden mit dem Adapter trainiert. Das Training hält eine Kopie beider Schichten im Speicher.</translation>
        </message>
        <message>
            <source>Texts to classify</source>
            <translation>Zu klassifizierende Texte</translation>
        </message>
        <message>
            <source>Texts with labels</source>
            <translation>Texte mit Labels</translation>
        </message>
        <message>
            <source>Texts with labels (text, label)</source>
            <translation>Texte mit Labels (text, label)</translation>
        </message>
        <message>
            <source>Thai</source>
            <translation>Thai</translation>
        </message>
        <message>
            <source>The Dataset page shows how each row was read and why rows were skipped. Nothing you do there changes your files.</source>
            <translation>Die Seite „Datensatz“ zeigt, wie jede Zeile gelesen wurde und warum Zeilen ausgelassen wurden. Nichts, was Sie dort tun, ändert Ihre Dateien.</translation>
        </message>
        <message>
            <source>The Findings list on the Dataset page shows mistakes in your data, the affected rows and, where possible, a repair that leaves your files unchanged.</source>
            <translation>Die Liste Befunde auf der Seite „Datensatz“ zeigt Fehler in Ihren Daten, die betroffenen Zeilen und, wo möglich, eine Korrektur, die Ihre Dateien unverändert lässt.</translation>
        </message>
        <message numerus="yes">
            <source>The GGUF file and the tokenizer give the same tokens in {n} conversations.</source>
            <translation>
                <numerusform>Die GGUF-Datei und der Tokenizer liefern in {n} Gespräch dieselben Token.</numerusform>
                <numerusform>Die GGUF-Datei und der Tokenizer liefern in {n} Gesprächen dieselben Token.</numerusform>
            </translation>
        </message>
        <message>
            <source>The GGUF file before quantization</source>
            <translation>Die GGUF-Datei vor der Quantisierung</translation>
        </message>
        <message>
            <source>The GGUF file before quantization failed the self-test, so no Ollama model was created.</source>
            <translation>Die GGUF-Datei vor der Quantisierung hat den Selbsttest nicht bestanden, daher wurde kein Ollama-Modell erstellt.</translation>
        </message>
        <message>
            <source>The GGUF file gives other tokens than the model's tokenizer, so no model was created.</source>
            <translation>Die GGUF-Datei liefert andere Token als der Tokenizer des Modells, deshalb wurde kein Modell angelegt.</translation>
        </message>
        <message>
            <source>The GGUF file has an unsupported pre-tokenizer: {name}.</source>
            <translation>Die GGUF-Datei hat einen nicht unterstützten Pre-Tokenizer: {name}.</translation>
        </message>
        <message>
            <source>The GGUF file has an unsupported tokenizer: {name}.</source>
            <translation>Die GGUF-Datei hat einen nicht unterstützten Tokenizer: {name}.</translation>
        </message>
        <message>
            <source>The GGUF file {file} doesn't exist.</source>
            <translation>Die GGUF-Datei {file} existiert nicht.</translation>
        </message>
        <message>
            <source>The GPU</source>
            <translation>Die GPU</translation>
        </message>
        <message>
            <source>The GPU ran out of memory. The CPU is used, which takes longer.</source>
            <translation>Der Speicher der GPU hat nicht gereicht. Die CPU wird verwendet, was länger dauert.</translation>
        </message>
        <message>
            <source>The Hub answered with a name that can't be a file, checksum, or commit: {value}. Nothing was written.</source>
            <translation>Der Hub hat mit einem Namen geantwortet, der weder Datei noch Prüfsumme noch Commit sein kann: {value}. Es wurde nichts geschrieben.</translation>
        </message>
        <message>
            <source>The Hub answered with status {status:d}.</source>
            <translation>Der Hub hat mit Status {status:d} geantwortet.</translation>
        </message>
        <message>
            <source>The Hub can't be reached, so the token can't be checked.</source>
            <translation>Der Hub ist nicht erreichbar, daher kann das Token nicht geprüft werden.</translation>
        </message>
        <message>
            <source>The Hub can't be reached.</source>
            <translation>Der Hub ist nicht erreichbar.</translation>
        </message>
        <message>
            <source>The Hub didn't respond.</source>
            <translation>Der Hub hat nicht geantwortet.</translation>
        </message>
        <message>
            <source>The Hub rejected this token.</source>
            <translation>Der Hub hat dieses Token abgelehnt.</translation>
        </message>
        <message>
            <source>The Hub rejected your token.</source>
            <translation>Der Hub hat Ihr Token abgelehnt.</translation>
        </message>
        <message>
            <source>The Hub's answer can't be read: {reason}.</source>
            <translation>Die Antwort des Hubs kann nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>The Hub's rate limit was reached.</source>
            <translation>Das Anfragelimit des Hubs ist erreicht.</translation>
        </message>
        <message>
            <source>The Hugging Face Hub couldn't be reached or denied access. Gated models need an access token. Everything on your own disk works without a network.</source>
            <translation>Der Hugging Face Hub war nicht erreichbar oder hat den Zugriff verweigert. Zugangsbeschränkte Modelle brauchen ein Zugriffstoken. Alles auf Ihrer Festplatte funktioniert ohne Netz.</translation>
        </message>
        <message>
            <source>The JSON schema {schema} can't be used: {reason}.</source>
            <translation>Das JSON-Schema {schema} kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The Modelfile doesn't match the trained model: {differences}.</source>
            <translation>Das Modelfile passt nicht zum trainierten Modell: {differences}.</translation>
        </message>
        <message>
            <source>The Ollama address is invalid: {reason}.</source>
            <translation>Die Ollama-Adresse ist ungültig: {reason}.</translation>
        </message>
        <message>
            <source>The Ollama server at {host} doesn't support the architecture {architecture}.</source>
            <translation>Der Ollama-Server unter {host} unterstützt die Architektur {architecture} nicht.</translation>
        </message>
        <message>
            <source>The Ollama server at {host} has no model named {model}.</source>
            <translation>Der Ollama-Server auf {host} hat kein Modell namens {model}.</translation>
        </message>
        <message>
            <source>The Ollama server at {host} refused the request: {reason}.</source>
            <translation>Der Ollama-Server auf {host} hat die Anfrage abgelehnt: {reason}.</translation>
        </message>
        <message>
            <source>The Ollama server at {host} requires a user name and a password.</source>
            <translation>Der Ollama-Server auf {host} verlangt Benutzername und Passwort.</translation>
        </message>
        <message>
            <source>The Ollama server at {host} stopped in the middle of its answer.</source>
            <translation>Der Ollama-Server auf {host} hat seine Antwort mittendrin abgebrochen.</translation>
        </message>
        <message>
            <source>The Ollama server at {host} stopped while creating {model}.</source>
            <translation>Der Ollama-Server auf {host} hat das Erstellen von {model} abgebrochen.</translation>
        </message>
        <message>
            <source>The Playground of this project has no saved conversations.</source>
            <translation>Der Playground dieses Projekts hat keine gespeicherten Unterhaltungen.</translation>
        </message>
        <message>
            <source>The Python installations on this computer couldn't be listed: {reason}</source>
            <translation>Die Python-Installationen auf diesem Computer konnten nicht aufgelistet werden: {reason}</translation>
        </message>
        <message>
            <source>The Raw tab shows what the file contains.</source>
            <translation>Was in der Datei steht, zeigt der Tab „Rohdaten“.</translation>
        </message>
        <message>
            <source>The TEMPLATE can't be rendered: {reason}.</source>
            <translation>Das TEMPLATE lässt sich nicht rendern: {reason}.</translation>
        </message>
        <message>
            <source>The TEMPLATE couldn't be verified: {reason}.</source>
            <translation>Das TEMPLATE ließ sich nicht prüfen: {reason}.</translation>
        </message>
        <message>
            <source>The TEMPLATE differs from the chat template for {limit}.</source>
            <translation>Das TEMPLATE weicht in diesem Fall von der Chat-Vorlage ab: {limit}.</translation>
        </message>
        <message numerus="yes">
            <source>The TEMPLATE is verified: {n} renderings are identical, with {features}.</source>
            <translation>
                <numerusform>Das TEMPLATE ist geprüft: {n} Rendering ist identisch, mit {features}.</numerusform>
                <numerusform>Das TEMPLATE ist geprüft: {n} Renderings sind identisch, mit {features}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>The TEMPLATE is verified: {n} renderings are identical.</source>
            <translation>
                <numerusform>Das TEMPLATE ist geprüft: {n} Rendering ist identisch.</numerusform>
                <numerusform>Das TEMPLATE ist geprüft: {n} Renderings sind identisch.</numerusform>
            </translation>
        </message>
        <message>
            <source>The TEMPLATE needs {need}.</source>
            <translation>Das TEMPLATE braucht {need}.</translation>
        </message>
        <message>
            <source>The adapter</source>
            <translation>Der Adapter</translation>
        </message>
        <message>
            <source>The adapter belongs to a classifier, but its file has no head “{name}” with a row for each label.</source>
            <translation>Der Adapter gehört zu einem Klassifikator, aber seine Datei enthält keinen Kopf „{name}“ mit einer Zeile je Label.</translation>
        </message>
        <message>
            <source>The adapter determines these settings: {settings}.</source>
            <translation>Der Adapter legt diese Einstellungen fest: {settings}.</translation>
        </message>
        <message>
            <source>The adapter doesn't belong to this base model: {reason}.</source>
            <translation>Der Adapter gehört nicht zu diesem Basismodell: {reason}.</translation>
        </message>
        <message>
            <source>The adapter doesn't fit {model}.</source>
            <translation>Der Adapter passt nicht zu {model}.</translation>
        </message>
        <message>
            <source>The adapter in {folder} can't be merged: {reason}.</source>
            <translation>Der Adapter in {folder} lässt sich nicht zusammenführen: {reason}.</translation>
        </message>
        <message>
            <source>The adapter in {folder} can't be read: {reason}.</source>
            <translation>Der Adapter in {folder} kann nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>The adapter in {folder} is damaged: {reason}.</source>
            <translation>Der Adapter in {folder} ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>The adapter in {folder} is incomplete: it lacks {tensors}, which its settings list as trained in full.</source>
            <translation>Der Adapter in {folder} ist unvollständig: Ihm fehlt {tensors}, obwohl seine Einstellungen das als vollständig trainiert aufführen.</translation>
        </message>
        <message>
            <source>The adapter in {folder} trained new tokens, but its tokenizer doesn't contain them.</source>
            <translation>Mit dem Adapter in {folder} wurden neue Token trainiert, aber sein Tokenizer enthält sie nicht.</translation>
        </message>
        <message>
            <source>The adapter is damaged, or training diverged. Train again with a lower learning rate.</source>
            <translation>Der Adapter ist beschädigt oder das Training ist divergiert. Trainieren Sie noch einmal mit einer niedrigeren Lernrate.</translation>
        </message>
        <message>
            <source>The adapter is in a new run. You can merge it now.</source>
            <translation>Der Adapter liegt in einem neuen Lauf und kann jetzt zusammengeführt werden.</translation>
        </message>
        <message>
            <source>The adapter is merged into the model.</source>
            <translation>Der Adapter ist mit dem Modell zusammengeführt.</translation>
        </message>
        <message>
            <source>The adapter is trained.</source>
            <translation>Der Adapter ist trainiert.</translation>
        </message>
        <message>
            <source>The adapter of a classifier can't be merged with other adapters.</source>
            <translation>Der Adapter eines Klassifikators lässt sich nicht zusammen mit anderen Adaptern zusammenführen.</translation>
        </message>
        <message>
            <source>The adapter of an embedding model isn't written as a GGUF file of its own.</source>
            <translation>Der Adapter eines Embedding-Modells wird nicht als eigene GGUF-Datei geschrieben.</translation>
        </message>
        <message>
            <source>The adapter of the experts ({names}) can't be combined with others into one adapter or exported as a GGUF adapter: it changes parameters directly.</source>
            <translation>Der Adapter der Experten ({names}) lässt sich nicht mit anderen zu einem Adapter kombinieren und nicht als GGUF-Adapter exportieren: Er verändert Parameter direkt.</translation>
        </message>
        <message>
            <source>The adapter of this classifier can't be merged: {reason}.</source>
            <translation>Der Adapter dieses Klassifikators lässt sich nicht zusammenführen: {reason}.</translation>
        </message>
        <message>
            <source>The adapter to start from doesn't fit this model: {reason}.</source>
            <translation>Der Startadapter passt nicht zu diesem Modell: {reason}.</translation>
        </message>
        <message>
            <source>The adapter trained {tensor} in full, which can't be weighted.</source>
            <translation>Der Adapter hat {tensor} vollständig trainiert; das lässt sich nicht gewichten.</translation>
        </message>
        <message>
            <source>The adapter was initialized with {initial}, which changes the base model, and wasn't converted to a plain LoRA adapter.</source>
            <translation>Der Adapter wurde mit {initial} initialisiert, was das Basismodell verändert, und nicht in einen einfachen LoRA-Adapter umgewandelt.</translation>
        </message>
        <message>
            <source>The adapter was initialized with {method}, which removed a part of the base model that can't be reconstructed from the adapter alone.</source>
            <translation>Der Adapter wurde mit {method} initialisiert. Dabei wurde dem Basismodell ein Teil entnommen, der sich aus dem Adapter allein nicht wiederherstellen lässt.</translation>
        </message>
        <message>
            <source>The adapter was trained on rounded weights of the base model ({precision}) and merged into those before rounding. The loss of the answers changes from {trained:.3f} to {merged:.3f}; the top-1 agreement is {top1:percent}, the KL divergence {kl:.2g} nats.</source>
            <translation>Der Adapter wurde auf gerundeten Gewichten des Basismodells ({precision}) trainiert und mit den ungerundeten zusammengeführt. Der Verlust der Antworten ändert sich von {trained:.3f} auf {merged:.3f}; die Top-1-Übereinstimmung beträgt {top1:percent}, die KL-Divergenz {kl:.2g} Nats.</translation>
        </message>
        <message>
            <source>The adapter was trained on the base model in 4 bits, and is merged into its 16-bit weights. Both differ by {share:percent} of the adapter's update, measured on rows of {tensors} tensors, so answers can change.</source>
            <translation>Der Adapter wurde auf dem Basismodell in 4 Bit trainiert und wird mit dessen 16-Bit-Gewichten zusammengeführt. Beide unterscheiden sich um {share:percent} der Änderung durch den Adapter (gemessen an Zeilen von {tensors} Tensoren), daher können sich Antworten ändern.</translation>
        </message>
        <message>
            <source>The adapter's embedding model pools in a way that isn't supported: {modes}.</source>
            <translation>Das Embedding-Modell des Adapters verwendet ein Pooling, das nicht unterstützt wird: {modes}.</translation>
        </message>
        <message>
            <source>The adapter's type is {type}. Only LORA adapters can be merged.</source>
            <translation>Der Adapter hat den Typ {type}. Nur LORA-Adapter lassen sich zusammenführen.</translation>
        </message>
        <message>
            <source>The adapter's {file} can't be used: {reason}.</source>
            <translation>{file} des Adapters kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The adapters have different ranks at {module} ({ranks}), and the method {method} needs equal ranks.</source>
            <translation>Die Adapter haben bei {module} verschiedene Ränge ({ranks}), und die Methode {method} braucht gleiche Ränge.</translation>
        </message>
        <message>
            <source>The adapters have different ranks. Choose Concatenation or SVD.</source>
            <translation>Die Adapter haben verschiedene Ränge. Wählen Sie Verkettung oder SVD.</translation>
        </message>
        <message>
            <source>The address contains a password, so it is used only until you close the window and isn't saved. To use it permanently, set the OLLAMA_HOST environment variable.</source>
            <translation>Die Adresse enthält ein Passwort: Sie gilt, bis Sie das Fenster schließen, und wird nicht gespeichert. Um sie dauerhaft zu verwenden, setzen Sie die Umgebungsvariable OLLAMA_HOST.</translation>
        </message>
        <message>
            <source>The address contains a password, so it is used only until you close the window.</source>
            <translation>Die Adresse enthält ein Passwort und wird deshalb nur verwendet, bis Sie das Fenster schließen.</translation>
        </message>
        <message>
            <source>The address of the server begins with http:// or https://.</source>
            <translation>Die Adresse des Servers beginnt mit http:// oder https://.</translation>
        </message>
        <message>
            <source>The address of the server is invalid.</source>
            <translation>Die Adresse des Servers ist ungültig.</translation>
        </message>
        <message>
            <source>The answer can be parsed as JSON.</source>
            <translation>Die Antwort lässt sich als JSON lesen.</translation>
        </message>
        <message>
            <source>The answer follows a JSON schema.</source>
            <translation>Die Antwort entspricht einem JSON-Schema.</translation>
        </message>
        <message>
            <source>The answer is in “{column}”. It could also be in {others}.</source>
            <translation>Die Antwort steht in „{column}“. Sie könnte auch in {others} stehen.</translation>
        </message>
        <message>
            <source>The answer of the server at {host} can't be read: {reason}.</source>
            <translation>Die Antwort des Servers unter {host} kann nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>The answer starts after the limit of {limit} tokens in {rows}, so there is nothing to train.</source>
            <translation>In {rows} beginnt die Antwort erst nach der Grenze von {limit} Tokens. Es gibt nichts zu trainieren.</translation>
        </message>
        <message>
            <source>The available standalone Pythons couldn't be listed</source>
            <translation>Die verfügbaren eigenständigen Pythons konnten nicht aufgelistet werden</translation>
        </message>
        <message>
            <source>The base model in {folder} has changed since the adapter was trained on it.</source>
            <translation>Das Basismodell in {folder} hat sich geändert, seit der Adapter darauf trainiert wurde.</translation>
        </message>
        <message>
            <source>The base model is quantized with bitsandbytes. It is dequantized to 16 bits, and the precision lost in quantization is not recovered.</source>
            <translation>Das Basismodell ist mit bitsandbytes quantisiert. Es wird auf 16 Bit dequantisiert; die beim Quantisieren verlorene Genauigkeit kommt nicht zurück.</translation>
        </message>
        <message>
            <source>The base model is quantized with {method}, and adapters can't be merged into it.</source>
            <translation>Das Basismodell ist mit {method} quantisiert, damit lassen sich Adapter nicht zusammenführen.</translation>
        </message>
        <message>
            <source>The base model's GGUF file</source>
            <translation>Die GGUF-Datei des Basismodells</translation>
        </message>
        <message>
            <source>The benchmark {task} can't be loaded: {reason}.</source>
            <translation>Der Benchmark {task} kann nicht geladen werden: {reason}.</translation>
        </message>
        <message>
            <source>The benchmark {task} is scored in a way that isn't supported.</source>
            <translation>Der Benchmark {task} wird auf eine Weise bewertet, die nicht unterstützt wird.</translation>
        </message>
        <message>
            <source>The benchmark {task} needs the package {package}, which isn't installed.</source>
            <translation>Der Benchmark {task} braucht das Paket {package}, das nicht installiert ist.</translation>
        </message>
        <message>
            <source>The best adapter, from step {step}, was kept.</source>
            <translation>Der beste Adapter (Schritt {step}) wurde behalten.</translation>
        </message>
        <message>
            <source>The best adapter, of step {step}, is damaged: {reason}. The last adapter was saved instead.</source>
            <translation>Der beste Adapter, von Schritt {step}, ist beschädigt: {reason}. Stattdessen wurde der letzte gespeichert.</translation>
        </message>
        <message>
            <source>The best answers on one GPU. Many languages.</source>
            <translation>Die besten Antworten auf einer GPU. Viele Sprachen.</translation>
        </message>
        <message>
            <source>The built-in model can't be downloaded because pip isn't installed.</source>
            <translation>Das mitgelieferte Modell kann nicht heruntergeladen werden, weil pip nicht installiert ist.</translation>
        </message>
        <message>
            <source>The built-in model could not be downloaded from the package registry.</source>
            <translation>Das mitgelieferte Modell konnte nicht aus der Paketquelle heruntergeladen werden.</translation>
        </message>
        <message>
            <source>The built-in model could not be downloaded from the package registry: {reason}</source>
            <translation>Das mitgelieferte Modell konnte nicht aus der Paketquelle heruntergeladen werden: {reason}</translation>
        </message>
        <message>
            <source>The built-in model is {known}.</source>
            <translation>Das mitgelieferte Modell heißt {known}.</translation>
        </message>
        <message>
            <source>The cache of the teacher's probabilities</source>
            <translation>Der Cache der Wahrscheinlichkeiten des Lehrers</translation>
        </message>
        <message>
            <source>The certificate file can't be used: {reason}.</source>
            <translation>Die Zertifikatsdatei kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The certificate of {host} is not trusted.</source>
            <translation>Dem Zertifikat von {host} wird nicht vertraut.</translation>
        </message>
        <message>
            <source>The chat template can't be rendered: {reason}.</source>
            <translation>Die Chat-Vorlage kann nicht gerendert werden: {reason}.</translation>
        </message>
        <message>
            <source>The chat template can't render the conversation: {reason}.</source>
            <translation>Die Chat-Vorlage kann das Gespräch nicht darstellen: {reason}.</translation>
        </message>
        <message>
            <source>The chat template can't render this prompt: {reason}.</source>
            <translation>Das Chat-Template kann diesen Prompt nicht darstellen: {reason}.</translation>
        </message>
        <message>
            <source>The chat template couldn't be converted to a verified Ollama TEMPLATE: {reason}.</source>
            <translation>Die Chat-Vorlage ließ sich nicht in ein geprüftes Ollama-TEMPLATE umwandeln: {reason}.</translation>
        </message>
        <message>
            <source>The chat template in {folder} rejects all conversations.</source>
            <translation>Die Chat-Vorlage in {folder} lehnt alle Gespräche ab.</translation>
        </message>
        <message>
            <source>The chat template uses the filter `safe`, which llama.cpp ignores and with which Python escapes the texts that are added</source>
            <translation>Die Chat-Vorlage verwendet den Filter `safe`, den llama.cpp ignoriert und mit dem Python die angefügten Texte maskiert</translation>
        </message>
        <message>
            <source>The checkpoint doesn't match the adapter: {reason}.</source>
            <translation>Der Checkpoint passt nicht zum Adapter: {reason}.</translation>
        </message>
        <message>
            <source>The checkpoint of step {step:d} couldn't be saved: {reason}</source>
            <translation>Der Checkpoint von Schritt {step:d} konnte nicht gespeichert werden: {reason}</translation>
        </message>
        <message>
            <source>The checkpoint {folder} is damaged: {reason}.</source>
            <translation>Der Checkpoint {folder} ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>The checkpoint {name} can't be read: {reason}.</source>
            <translation>Der Checkpoint {name} ist nicht lesbar: {reason}.</translation>
        </message>
        <message>
            <source>The checksum of {file} doesn't match the one in the index.</source>
            <translation>Die Prüfsumme von {file} stimmt nicht mit der im Index überein.</translation>
        </message>
        <message>
            <source>The column names don't say what the columns contain: {uses}.</source>
            <translation>Die Spaltennamen sagen nicht, was die Spalten enthalten: {uses}.</translation>
        </message>
        <message>
            <source>The columns are: {columns}. Enter one of them, or a template such as {example}.</source>
            <translation>Vorhandene Spalten: {columns}. Geben Sie eine davon an oder eine Vorlage wie {example}.</translation>
        </message>
        <message numerus="yes">
            <source>The columns {names}, mapped to “{slot}”, don't exist.</source>
            <translation>
                <numerusform>Die Spalte {names}, die „{slot}“ zugeordnet ist, gibt es nicht.</numerusform>
                <numerusform>Die Spalten {names}, die „{slot}“ zugeordnet sind, gibt es nicht.</numerusform>
            </translation>
        </message>
        <message>
            <source>The combined adapter</source>
            <translation>Der kombinierte Adapter</translation>
        </message>
        <message>
            <source>The combined update of {module} contains NaN or infinite values.</source>
            <translation>Das kombinierte Update von {module} enthält NaN oder unendliche Werte.</translation>
        </message>
        <message>
            <source>The command couldn't be sent to the run: {reason}.</source>
            <translation>Der Befehl konnte nicht an den Lauf gesendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The completion can't be compared with “{expected}”.</source>
            <translation>Die Antwort lässt sich nicht mit „{expected}“ vergleichen.</translation>
        </message>
        <message>
            <source>The computer was shut down or restarted while it ran.</source>
            <translation>Der Computer wurde währenddessen heruntergefahren oder neu gestartet.</translation>
        </message>
        <message>
            <source>The connection to Ollama at {host} was lost: {reason}.</source>
            <translation>Die Verbindung zu Ollama auf {host} ist abgebrochen: {reason}.</translation>
        </message>
        <message>
            <source>The connection to the worker was lost: {reason}</source>
            <translation>Die Verbindung zum Worker ist abgebrochen: {reason}</translation>
        </message>
        <message>
            <source>The conversations are between several people. The model learns to answer as “{speaker}”. The others are {people}.</source>
            <translation>In den Unterhaltungen schreiben mehrere Personen. Das Modell lernt, wie „{speaker}“ zu antworten. Die anderen sind {people}.</translation>
        </message>
        <message>
            <source>The copy for LM Studio</source>
            <translation>Die Kopie für LM Studio</translation>
        </message>
        <message>
            <source>The copy shares the model's files, so it uses no additional disk space.</source>
            <translation>Die Kopie teilt sich die Dateien mit dem Modell und belegt keinen zusätzlichen Speicherplatz.</translation>
        </message>
        <message>
            <source>The current engine is unchanged. Start the setup again; full details are in the log.</source>
            <translation>Die aktuelle Engine ist unverändert. Starten Sie die Einrichtung erneut; alle Einzelheiten stehen im Protokoll.</translation>
        </message>
        <message>
            <source>The curve starts at the first step.</source>
            <translation>Die Kurve beginnt mit dem ersten Schritt.</translation>
        </message>
        <message>
            <source>The damaged file is kept as {kept}. To restore it, repair it and rename it back.</source>
            <translation>Die beschädigte Datei bleibt als {kept} erhalten. Um sie wiederherzustellen, reparieren Sie sie und benennen Sie sie zurück um.</translation>
        </message>
        <message>
            <source>The data files were changed since {run:run} was trained, so rows that it was trained on can't be recognized for certain.</source>
            <translation>Die Datendateien wurden seit dem Training von {run:run} geändert. Zeilen, mit denen trainiert wurde, lassen sich daher nicht sicher erkennen.</translation>
        </message>
        <message>
            <source>The dataset has no rows.</source>
            <translation>Der Datensatz hat keine Zeilen.</translation>
        </message>
        <message>
            <source>The dataset has no sources.</source>
            <translation>Der Datensatz hat keine Quellen.</translation>
        </message>
        <message>
            <source>The disk is full.</source>
            <translation>Der Datenträger ist voll.</translation>
        </message>
        <message>
            <source>The disk is read-only.</source>
            <translation>Auf den Datenträger kann nicht geschrieben werden.</translation>
        </message>
        <message>
            <source>The download of {repository}</source>
            <translation>Der Download von {repository}</translation>
        </message>
        <message>
            <source>The download of {repository} was interrupted: {reason}.</source>
            <translation>Der Download von {repository} wurde unterbrochen: {reason}.</translation>
        </message>
        <message>
            <source>The driver of {gpu} ({version}) doesn't report a CUDA version, so training uses the CPU. Its CUDA library may be missing. Install the complete NVIDIA driver, then update the engine.</source>
            <translation>Der Treiber von {gpu} ({version}) meldet keine CUDA-Version, deshalb nutzt das Training die CPU. Möglicherweise fehlt seine CUDA-Bibliothek. Installieren Sie den vollständigen NVIDIA-Treiber und aktualisieren Sie dann die Engine.</translation>
        </message>
        <message>
            <source>The driver of {gpu} ({version}) is too old for PyTorch, which needs a driver for CUDA {major:d}.{minor:d} or newer on this GPU. Update the NVIDIA driver, then update the engine.</source>
            <translation>Der Treiber von {gpu} ({version}) ist zu alt für PyTorch, das auf dieser GPU einen Treiber für CUDA {major:d}.{minor:d} oder neuer braucht. Aktualisieren Sie den NVIDIA-Treiber, dann die Engine.</translation>
        </message>
        <message>
            <source>The embedding model pools in a way that can't be trained here: {modes}.</source>
            <translation>Das Embedding-Modell verwendet ein Pooling, das hier nicht trainiert werden kann: {modes}.</translation>
        </message>
        <message>
            <source>The end token, which has seen the whole text. The usual choice for language models.</source>
            <translation>Das End-Token, das den ganzen Text gesehen hat. Bei Sprachmodellen die übliche Wahl.</translation>
        </message>
        <message>
            <source>The engine contains PyTorch and the libraries that train your model. It is downloaded once, tested with a tiny training run, and installed in a folder of your own. You don't need administrator rights.</source>
            <translation>Die Engine enthält PyTorch und die Bibliotheken, mit denen Ihr Modell trainiert wird. Sie wird einmal heruntergeladen, mit einem winzigen Training getestet und in einem eigenen Ordner installiert. Administratorrechte brauchen Sie nicht.</translation>
        </message>
        <message>
            <source>The engine contains PyTorch and the training libraries and is installed separately from the app. Settings shows which engine is in use. To test it, run `lora-studio engine check`; to repair it, run `lora-studio engine repair`.</source>
            <translation>Die Engine enthält PyTorch und die Trainingsbibliotheken und wird getrennt von der App installiert. Die Einstellungen zeigen, welche Engine verwendet wird. `lora-studio engine check` prüft sie, `lora-studio engine repair` repariert sie.</translation>
        </message>
        <message>
            <source>The engine couldn't be installed: {reason}.</source>
            <translation>Die Engine konnte nicht installiert werden: {reason}.</translation>
        </message>
        <message>
            <source>The engine couldn't be removed completely: {reason}.</source>
            <translation>Die Engine konnte nicht vollständig entfernt werden: {reason}.</translation>
        </message>
        <message>
            <source>The engine couldn't be started: {reason}.</source>
            <translation>Die Engine konnte nicht gestartet werden: {reason}.</translation>
        </message>
        <message>
            <source>The engine ended with exit status {code:d} during its test.</source>
            <translation>Die Engine endete während ihres Tests mit dem Exit-Status {code:d}.</translation>
        </message>
        <message>
            <source>The engine folder can't be used: {reason}.</source>
            <translation>Der Engine-Ordner kann nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The engine has version {engine}, but LoRA Studio has version {app}.</source>
            <translation>Die Engine hat die Version {engine}, LoRA Studio aber die Version {app}.</translation>
        </message>
        <message>
            <source>The engine is ready.</source>
            <translation>Die Engine ist bereit.</translation>
        </message>
        <message>
            <source>The engine isn't installed.</source>
            <translation>Die Engine ist nicht installiert.</translation>
        </message>
        <message>
            <source>The engine needs a 64-bit Python 3.11, 3.12, or 3.13.</source>
            <translation>Die Engine braucht ein Python 3.11, 3.12 oder 3.13 mit 64 Bit.</translation>
        </message>
        <message>
            <source>The engine needs {needed:size} of disk space, but only {free:size} is free.</source>
            <translation>Die Engine braucht {needed:size} Speicherplatz, aber nur {free:size} sind frei.</translation>
        </message>
        <message>
            <source>The engine {name} is damaged: its Python is missing.</source>
            <translation>Die Engine {name} ist beschädigt: Ihr Python fehlt.</translation>
        </message>
        <message>
            <source>The engine {name} is in use by a job or another window.</source>
            <translation>Die Engine {name} wird von einem Auftrag oder einem anderen Fenster benutzt.</translation>
        </message>
        <message>
            <source>The engine's Python can't be started: {reason}.</source>
            <translation>Das Python der Engine kann nicht gestartet werden: {reason}.</translation>
        </message>
        <message>
            <source>The engine's environment couldn't be created</source>
            <translation>Die Umgebung der Engine konnte nicht erstellt werden</translation>
        </message>
        <message>
            <source>The engine's worker ended: {reason}.</source>
            <translation>Der Worker der Engine endete: {reason}.</translation>
        </message>
        <message>
            <source>The engines are already in this folder.</source>
            <translation>Die Engines sind bereits in diesem Ordner.</translation>
        </message>
        <message>
            <source>The engines need {needed:size} of disk space, but only {free:size} is free.</source>
            <translation>Die Engines brauchen {needed:size} Speicherplatz, aber nur {free:size} sind frei.</translation>
        </message>
        <message>
            <source>The environment variable {variable} isn't set.</source>
            <translation>Die Umgebungsvariable {variable} ist nicht gesetzt.</translation>
        </message>
        <message>
            <source>The environment variable {variable} sets the engine folder.</source>
            <translation>Die Umgebungsvariable {variable} legt den Engine-Ordner fest.</translation>
        </message>
        <message>
            <source>The eval loss is {loss:loss}.</source>
            <translation>Der Eval-Loss beträgt {loss:loss}.</translation>
        </message>
        <message>
            <source>The eval reward is {value:loss}.</source>
            <translation>Die Eval-Belohnung ist {value:loss}.</translation>
        </message>
        <message>
            <source>The evaluation can't be written to {file}: {reason}.</source>
            <translation>Die Auswertung kann nicht nach {file} geschrieben werden: {reason}.</translation>
        </message>
        <message>
            <source>The evaluation is complete.</source>
            <translation>Die Auswertung ist abgeschlossen.</translation>
        </message>
        <message>
            <source>The evaluation is paused. To continue, select Continue evaluation.</source>
            <translation>Die Auswertung ist angehalten. Zum Fortsetzen wählen Sie „Auswertung fortsetzen“.</translation>
        </message>
        <message>
            <source>The evaluation {name} can't be read: {reason}.</source>
            <translation>Die Auswertung {name} kann nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>The experts ({names}) get no adapter: they are stacked into one tensor per layer, and adapting it takes as much additional memory as the experts themselves.</source>
            <translation>Die Experten ({names}) bekommen keinen Adapter: Sie liegen je Schicht in einem Tensor, und ihn anzupassen braucht noch einmal so viel Speicher wie die Experten selbst.</translation>
        </message>
        <message>
            <source>The export</source>
            <translation>Der Export</translation>
        </message>
        <message>
            <source>The export is complete.</source>
            <translation>Der Export ist fertig.</translation>
        </message>
        <message>
            <source>The exported model is damaged: {reason}.</source>
            <translation>Das exportierte Modell ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>The expression took longer than {seconds} s.</source>
            <translation>Der Ausdruck brauchte länger als {seconds} s.</translation>
        </message>
        <message>
            <source>The file {file} doesn't exist.</source>
            <translation>Die Datei {file} gibt es nicht.</translation>
        </message>
        <message>
            <source>The file {path} doesn't exist.</source>
            <translation>Die Datei {path} existiert nicht.</translation>
        </message>
        <message>
            <source>The files are created from base model and adapter, because rounding changed the merged model.</source>
            <translation>Die Dateien entstehen aus Basismodell und Adapter, weil das Runden das zusammengeführte Modell verändert hat.</translation>
        </message>
        <message>
            <source>The first line of {name} doesn't look like column names, so it is read as a row.</source>
            <translation>Die erste Zeile von {name} sieht nicht nach Spaltennamen aus und wird deshalb als Datenzeile gelesen.</translation>
        </message>
        <message>
            <source>The first {shown} of {total} benchmarks. Enter a word to find others.</source>
            <translation>Die ersten {shown} von {total} Benchmarks. Geben Sie ein Wort ein, um andere zu finden.</translation>
        </message>
        <message>
            <source>The first {shown} of {total} items.</source>
            <translation>Die ersten {shown} von {total} Aufgaben.</translation>
        </message>
        <message>
            <source>The folder has no project.toml: it isn't a run, or creating it was interrupted.</source>
            <translation>Der Ordner enthält keine project.toml: Er ist kein Lauf, oder sein Anlegen wurde unterbrochen.</translation>
        </message>
        <message>
            <source>The folder of the project's runs, {file}, is a link to {target}, which you haven't allowed.</source>
            <translation>Der Ordner der Läufe des Projekts, {file}, ist ein Link auf {target}, den Sie nicht erlaubt haben.</translation>
        </message>
        <message>
            <source>The folder {folder} contains files that don't belong to a model.</source>
            <translation>Der Ordner {folder} enthält Dateien, die nicht zu einem Modell gehören.</translation>
        </message>
        <message>
            <source>The folder {folder} doesn't exist.</source>
            <translation>Den Ordner {folder} gibt es nicht.</translation>
        </message>
        <message>
            <source>The folder {folder} is not empty.</source>
            <translation>Der Ordner {folder} ist nicht leer.</translation>
        </message>
        <message>
            <source>The folder {path} doesn't exist.</source>
            <translation>Der Ordner {path} existiert nicht.</translation>
        </message>
        <message>
            <source>The function failed: {reason}.</source>
            <translation>Die Funktion ist fehlgeschlagen: {reason}.</translation>
        </message>
        <message>
            <source>The function took longer than {seconds} s.</source>
            <translation>Die Funktion brauchte länger als {seconds} s.</translation>
        </message>
        <message>
            <source>The function's process ended. Its memory limit is {limit} MB.</source>
            <translation>Der Prozess der Funktion wurde beendet. Seine Speichergrenze ist {limit} MB.</translation>
        </message>
        <message>
            <source>The grade that another model gives the completion, from 0 to 1.</source>
            <translation>Die Note, die ein anderes Modell der Antwort gibt, von 0 bis 1.</translation>
        </message>
        <message>
            <source>The gradient is NaN or infinite in step {step:d}: training diverged.</source>
            <translation>Der Gradient ist in Schritt {step:d} NaN oder unendlich: Das Training ist divergiert.</translation>
        </message>
        <message>
            <source>The gradient is zero: the trainable parameters don't affect the loss.</source>
            <translation>Der Gradient ist null: Die trainierbaren Parameter haben keinen Einfluss auf den Loss.</translation>
        </message>
        <message>
            <source>The head of the adapter doesn't fit {model}: their widths differ.</source>
            <translation>Der Kopf des Adapters passt nicht zu {model}: Ihre Breiten sind verschieden.</translation>
        </message>
        <message>
            <source>The header shows your device and the running job. Ctrl+K searches settings and commands, Ctrl+/ lists all shortcuts, and Help starts this tour again.</source>
            <translation>Die Kopfzeile zeigt Ihr Gerät und den laufenden Auftrag. Strg+K durchsucht Einstellungen und Befehle, Strg+/ zeigt alle Tastenkürzel, und über Hilfe starten Sie diese Tour erneut.</translation>
        </message>
        <message>
            <source>The icons were drawn for LoRA Studio and use the same license, Apache-2.0.</source>
            <translation>Die Symbole wurden für LoRA Studio gezeichnet und stehen unter derselben Lizenz, Apache-2.0.</translation>
        </message>
        <message>
            <source>The importance matrix can't be computed with this version of llama.cpp.</source>
            <translation>Die Importance-Matrix lässt sich mit dieser Version von llama.cpp nicht berechnen.</translation>
        </message>
        <message>
            <source>The inputs of {tensor} contain NaN or infinite values.</source>
            <translation>Die Eingaben von {tensor} enthalten NaN oder unendliche Werte.</translation>
        </message>
        <message>
            <source>The judge</source>
            <translation>Bewertung der Antworten</translation>
        </message>
        <message>
            <source>The judge compares the answers of two models. Choose at least two.</source>
            <translation>Der Richter vergleicht die Antworten zweier Modelle. Wählen Sie mindestens zwei.</translation>
        </message>
        <message>
            <source>The judge gave no grade: “{reply}”.</source>
            <translation>Das Bewertungsmodell gab keine Note: „{reply}“.</translation>
        </message>
        <message>
            <source>The judge was not asked.</source>
            <translation>Das Bewertungsmodell wurde nicht gefragt.</translation>
        </message>
        <message>
            <source>The judge {model} at {address} can't be used.</source>
            <translation>Das Bewertungsmodell {model} unter {address} kann nicht verwendet werden.</translation>
        </message>
        <message>
            <source>The label is in “{column}”. It could also be in {others}.</source>
            <translation>Das Label steht in „{column}“. Es könnte auch in {others} stehen.</translation>
        </message>
        <message>
            <source>The label is the same in {rows}: {label}. Training needs good and bad answers.</source>
            <translation>Die Bewertung ist in {rows} dieselbe: {label}. Das Training braucht gute und schlechte Antworten.</translation>
        </message>
        <message>
            <source>The label is the same in {rows}: “{label}”. Add rows with other labels, or map another column to “label”.</source>
            <translation>Das Label ist in {rows} dasselbe: „{label}“. Fügen Sie Zeilen mit anderen Labels hinzu oder ordnen Sie „label“ eine andere Spalte zu.</translation>
        </message>
        <message>
            <source>The label is “{label}” in only {rows}, and “{other}” in {others}.</source>
            <translation>Nur in {rows} lautet die Bewertung „{label}“, aber in {others} „{other}“.</translation>
        </message>
        <message>
            <source>The language changes the next time you start LoRA Studio.</source>
            <translation>Die Sprache wechselt beim nächsten Start von LoRA Studio.</translation>
        </message>
        <message>
            <source>The largest micro-batch has {tokens}, assuming every row has the maximum sequence length. Row lengths haven't been measured yet.</source>
            <translation>Der größte Mikro-Batch hat {tokens}, wenn jede Zeile die maximale Sequenzlänge hat. Die Zeilenlängen sind noch nicht gemessen.</translation>
        </message>
        <message>
            <source>The largest micro-batch has {tokens}.</source>
            <translation>Der größte Mikro-Batch hat {tokens}.</translation>
        </message>
        <message>
            <source>The last number of the answer is that of the reference, within a tolerance.</source>
            <translation>Die letzte Zahl der Antwort ist innerhalb einer Toleranz die der Referenz.</translation>
        </message>
        <message>
            <source>The list of parts at the end of {name} is longer than {most:size}.</source>
            <translation>Das Verzeichnis der Teile am Ende von {name} ist länger als {most:size}.</translation>
        </message>
        <message>
            <source>The log lists what the TEMPLATE can't express. Ollama 0.30 and later can use the chat template in the GGUF file instead: set OLLAMA_GO_TEMPLATE=0 there. Or remove such conversations from your data and train again.</source>
            <translation>Im Protokoll steht, was das TEMPLATE nicht ausdrücken kann. Ollama ab 0.30 kann stattdessen die Chat-Vorlage in der GGUF-Datei verwenden: Setzen Sie dort OLLAMA_GO_TEMPLATE=0. Oder entfernen Sie solche Gespräche aus Ihren Daten und trainieren Sie erneut.</translation>
        </message>
        <message>
            <source>The longest row has {longest} tokens, but 95 % of the rows have at most {usual}. Lower the maximum sequence length to {limit} tokens: this cuts {rows}. Earlier checkpoints are kept.</source>
            <translation>Die längste Zeile hat {longest} Tokens, 95 % der Zeilen haben aber höchstens {usual}. Setzen Sie die maximale Sequenzlänge auf {limit} Tokens: Das kürzt {rows}. Frühere Checkpoints bleiben erhalten.</translation>
        </message>
        <message>
            <source>The loss is NaN in step {step:d}: training diverged.</source>
            <translation>Der Loss ist in Schritt {step:d} NaN: Das Training ist divergiert.</translation>
        </message>
        <message>
            <source>The loss is NaN or infinite.</source>
            <translation>Der Loss ist NaN oder unendlich.</translation>
        </message>
        <message>
            <source>The loss is infinite in step {step:d}: training diverged.</source>
            <translation>Der Loss ist in Schritt {step:d} unendlich: Das Training ist divergiert.</translation>
        </message>
        <message>
            <source>The loss is rising: from {lowest:loss} to {current:loss}.</source>
            <translation>Der Loss steigt: von {lowest:loss} auf {current:loss}.</translation>
        </message>
        <message>
            <source>The loss of the DPO paper. Suits most data (Rafailov et al. 2023).</source>
            <translation>Der Verlust aus dem DPO-Artikel. Passt für die meisten Daten (Rafailov et al. 2023).</translation>
        </message>
        <message>
            <source>The loss rose from {first:loss} to {last:loss}.</source>
            <translation>Der Loss stieg von {first:loss} auf {last:loss}.</translation>
        </message>
        <message>
            <source>The lowest value is above the highest one.</source>
            <translation>Der niedrigste Wert liegt über dem höchsten.</translation>
        </message>
        <message>
            <source>The mean over all tokens.</source>
            <translation>Der Mittelwert über alle Tokens.</translation>
        </message>
        <message>
            <source>The memory estimate appears when the model and device are known and all settings are valid.</source>
            <translation>Die Speicherschätzung erscheint, sobald Modell und Gerät bekannt und alle Einstellungen gültig sind.</translation>
        </message>
        <message>
            <source>The merged model</source>
            <translation>Das zusammengeführte Modell</translation>
        </message>
        <message>
            <source>The merged model differs slightly from what was trained: {cause}. The top-1 agreement is {top1:percent}, the KL divergence {kl:.2g} nats.</source>
            <translation>Das zusammengeführte Modell weicht leicht vom Trainierten ab: {cause}. Die Top-1-Übereinstimmung beträgt {top1:percent}, die KL-Divergenz {kl:.2g} Nats.</translation>
        </message>
        <message>
            <source>The merged model failed its self-test, and {quantization} hasn't been tested since.</source>
            <translation>Das zusammengeführte Modell hat seinen Selbsttest nicht bestanden, und {quantization} wurde seitdem nicht geprüft.</translation>
        </message>
        <message>
            <source>The merged model failed the self-test, so no Ollama model was created.</source>
            <translation>Das zusammengeführte Modell hat den Selbsttest nicht bestanden, daher wurde kein Ollama-Modell erstellt.</translation>
        </message>
        <message>
            <source>The merged model is complete and usable. A newer llama.cpp may support it: choose its folder on the Export page.</source>
            <translation>Das zusammengeführte Modell ist vollständig und benutzbar. Ein neueres llama.cpp unterstützt es vielleicht: Wählen Sie seinen Ordner auf der Seite „Export“.</translation>
        </message>
        <message>
            <source>The merged model is complete and usable. The built-in llama.cpp supports it: leave the llama.cpp field empty, and remove other versions from PATH.</source>
            <translation>Das zusammengeführte Modell ist vollständig und verwendbar. Das integrierte llama.cpp unterstützt die Architektur: Lassen Sie das Feld llama.cpp leer, und entfernen Sie andere Versionen aus PATH.</translation>
        </message>
        <message>
            <source>The merged model is damaged: {reason}.</source>
            <translation>Das zusammengeführte Modell ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>The merged model is missing, so it isn't tested.</source>
            <translation>Das zusammengeführte Modell fehlt und wird deshalb nicht geprüft.</translation>
        </message>
        <message>
            <source>The merged model was tested before and is unchanged.</source>
            <translation>Das zusammengeführte Modell wurde schon getestet und ist unverändert.</translation>
        </message>
        <message>
            <source>The merged model would overwrite its base model.</source>
            <translation>Das zusammengeführte Modell würde sein Basismodell überschreiben.</translation>
        </message>
        <message>
            <source>The merged {tensor} contains infinite or NaN values.</source>
            <translation>{tensor} enthält nach dem Zusammenführen unendliche oder NaN-Werte.</translation>
        </message>
        <message>
            <source>The metric {metric} has no option {parameter}.</source>
            <translation>Die Metrik {metric} hat keine Option {parameter}.</translation>
        </message>
        <message numerus="yes">
            <source>The metrics of {n} steps are missing: {steps}. {file} is damaged.</source>
            <translation>
                <numerusform>Die Messwerte von {n} Schritt fehlen: {steps}. {file} ist beschädigt.</numerusform>
                <numerusform>Die Messwerte von {n} Schritten fehlen: {steps}. {file} ist beschädigt.</numerusform>
            </translation>
        </message>
        <message>
            <source>The metrics of {run} can't be read: {reason}.</source>
            <translation>Die Messwerte von {run} können nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>The model</source>
            <translation>Das Modell</translation>
        </message>
        <message>
            <source>The model answers the same prompts as the other ones. Metrics that need probabilities of tokens aren't available for it.</source>
            <translation>Das Modell beantwortet dieselben Prompts wie die anderen. Metriken, die Wahrscheinlichkeiten von Tokens brauchen, gibt es für dieses Modell nicht.</translation>
        </message>
        <message>
            <source>The model as trained can't be measured: {reason}</source>
            <translation>Das Modell, wie es trainiert wurde, kann nicht gemessen werden: {reason}</translation>
        </message>
        <message>
            <source>The model doesn't fit on all GPUs together.</source>
            <translation>Das Modell passt auch auf alle GPUs zusammen nicht.</translation>
        </message>
        <message>
            <source>The model exists, but its answers can differ from the trained model's. Update Ollama and create it again. Check whether the server rewrites prompts.</source>
            <translation>Das Modell existiert, aber seine Antworten können von denen des trainierten Modells abweichen. Aktualisieren Sie Ollama und erstellen Sie es neu. Prüfen Sie, ob der Server Prompts umschreibt.</translation>
        </message>
        <message>
            <source>The model exists, but its vectors differ from those that were trained. Update Ollama and create it again, or run the GGUF file with llama.cpp's llama-server.</source>
            <translation>Das Modell ist angelegt, aber seine Vektoren weichen von den trainierten ab. Aktualisieren Sie Ollama und legen Sie es erneut an, oder führen Sie die GGUF-Datei mit llama-server von llama.cpp aus.</translation>
        </message>
        <message>
            <source>The model fits on one GPU, so it uses {device} ({title}). To train on several at a time, name them as the device: {names}.</source>
            <translation>Das Modell passt auf eine GPU, also wird {device} ({title}) verwendet. Um auf mehreren gleichzeitig zu trainieren, geben Sie sie als Gerät an: {names}.</translation>
        </message>
        <message>
            <source>The model has changed since this evaluation began.</source>
            <translation>Das Modell hat sich seit dem Beginn dieser Auswertung geändert.</translation>
        </message>
        <message>
            <source>The model has no module named {name} to train in full.</source>
            <translation>Das Modell hat kein Modul namens {name}, das vollständig trainiert werden könnte.</translation>
        </message>
        <message>
            <source>The model has no {module}.</source>
            <translation>Das Modell hat kein {module}.</translation>
        </message>
        <message>
            <source>The model has to be sharded across the GPUs, but this build of PyTorch can't do that: it has no NCCL.</source>
            <translation>Das Modell muss auf die GPUs aufgeteilt werden, aber dieser Build von PyTorch kann das nicht: Ihm fehlt NCCL.</translation>
        </message>
        <message>
            <source>The model in Ollama doesn't match the trained model: {differences}.</source>
            <translation>Das Modell in Ollama passt nicht zum trainierten Modell: {differences}.</translation>
        </message>
        <message>
            <source>The model in {folder} can't be read: {reason}.</source>
            <translation>Das Modell in {folder} lässt sich nicht lesen: {reason}.</translation>
        </message>
        <message numerus="yes">
            <source>The model includes {n} Python files. They would run with your permissions: they can read, change, and send any of your files. Only allow them if you trust their author.</source>
            <translation>
                <numerusform>Das Modell enthält {n} Python-Datei. Sie würde mit Ihren Rechten laufen: Sie kann alle Ihre Dateien lesen, ändern und verschicken. Erlauben Sie das nur, wenn Sie dem Autor vertrauen.</numerusform>
                <numerusform>Das Modell enthält {n} Python-Dateien. Sie würden mit Ihren Rechten laufen: Sie können alle Ihre Dateien lesen, ändern und verschicken. Erlauben Sie das nur, wenn Sie dem Autor vertrauen.</numerusform>
            </translation>
        </message>
        <message>
            <source>The model is broken. Check its self-test, then merge or train again.</source>
            <translation>Das Modell ist defekt. Prüfen Sie seinen Selbsttest und führen Sie dann noch einmal zusammen oder trainieren Sie neu.</translation>
        </message>
        <message>
            <source>The model is in Ollama.</source>
            <translation>Das Modell ist in Ollama.</translation>
        </message>
        <message>
            <source>The model is in a new run. You can export it now.</source>
            <translation>Das Modell liegt in einem neuen Lauf und kann jetzt exportiert werden.</translation>
        </message>
        <message>
            <source>The model is stored with {method} quantization, which can't be trained on.</source>
            <translation>Das Modell ist mit {method} quantisiert gespeichert, darauf lässt sich nicht trainieren.</translation>
        </message>
        <message>
            <source>The model is stored with {method} quantization, which needs the package {package}.</source>
            <translation>Das Modell ist mit {method} quantisiert gespeichert, dafür wird das Paket {package} gebraucht.</translation>
        </message>
        <message>
            <source>The model is too large for one GPU. Its layers are spread over all {count}.</source>
            <translation>Das Modell ist zu groß für eine GPU. Seine Schichten werden auf alle {count} verteilt.</translation>
        </message>
        <message>
            <source>The model isn't on this computer yet. Download it on the Model page.</source>
            <translation>Das Modell ist noch nicht auf diesem Computer. Laden Sie es auf der Seite „Modell“ herunter.</translation>
        </message>
        <message>
            <source>The model learns to answer as “{speaker}”, the only person in the conversations.</source>
            <translation>Das Modell lernt, wie „{speaker}“ zu antworten, die einzige Person in den Unterhaltungen.</translation>
        </message>
        <message>
            <source>The model needs {needed:memory} of GPU memory, but only {free:memory} of {total:memory} is free. The CPU is used, which takes longer.</source>
            <translation>Das Modell braucht {needed:memory} GPU-Speicher, von {total:memory} sind aber nur {free:memory} frei. Die CPU wird verwendet, was länger dauert.</translation>
        </message>
        <message>
            <source>The model {model} already exists at {host}.</source>
            <translation>Das Modell {model} gibt es auf {host} schon.</translation>
        </message>
        <message>
            <source>The model {name} includes Python code that would run with your permissions. You haven't allowed it yet.</source>
            <translation>Das Modell {name} enthält Python-Code, der mit Ihren Rechten laufen würde. Sie haben ihn noch nicht erlaubt.</translation>
        </message>
        <message>
            <source>The model {name} needs its own Python code.</source>
            <translation>Das Modell {name} braucht seinen eigenen Python-Code.</translation>
        </message>
        <message>
            <source>The model {name} refers to Python code that isn't in its folder: {reference}.</source>
            <translation>Das Modell {name} verweist auf Python-Code, der nicht in seinem Ordner liegt: {reference}.</translation>
        </message>
        <message>
            <source>The model's chat template can't be used: {reason}.</source>
            <translation>Die Chat-Vorlage des Modells ist nicht verwendbar: {reason}.</translation>
        </message>
        <message>
            <source>The model's own</source>
            <translation>Die des Modells</translation>
        </message>
        <message>
            <source>The new token {token} can't be added: {reason}.</source>
            <translation>Das neue Token {token} kann nicht hinzugefügt werden: {reason}.</translation>
        </message>
        <message>
            <source>The new tokens of the adapter in {folder} can't be used: {reason}.</source>
            <translation>Die neuen Token des Adapters in {folder} können nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The next run is starting.</source>
            <translation>Der nächste Lauf startet.</translation>
        </message>
        <message>
            <source>The next run starts when the current job finishes.</source>
            <translation>Der nächste Lauf startet, wenn der laufende Auftrag beendet ist.</translation>
        </message>
        <message>
            <source>The number of steps appears once the dataset is read.</source>
            <translation>Die Zahl der Schritte erscheint, sobald der Datensatz gelesen ist.</translation>
        </message>
        <message>
            <source>The number of trainable parameters appears when the model details are known.</source>
            <translation>Die Zahl der trainierbaren Parameter erscheint, sobald die Angaben zum Modell bekannt sind.</translation>
        </message>
        <message>
            <source>The operating system refused what the app needs to work: a folder, memory, or open files. Your projects and runs are not affected.</source>
            <translation>Das Betriebssystem hat etwas verweigert, was die App braucht: einen Ordner, Speicher oder offene Dateien. Ihre Projekte und Läufe sind nicht betroffen.</translation>
        </message>
        <message>
            <source>The other layers are adapted. You don't need to change anything.</source>
            <translation>Die anderen Schichten werden angepasst. Sie müssen nichts ändern.</translation>
        </message>
        <message>
            <source>The other linear layers are adapted. To adapt the experts too, turn on “{setting}”.</source>
            <translation>Die anderen linearen Schichten werden angepasst. Um auch die Experten anzupassen, schalten Sie „{setting}“ ein.</translation>
        </message>
        <message>
            <source>The other project's job continues in the background.</source>
            <translation>Der Auftrag des anderen Projekts läuft im Hintergrund weiter.</translation>
        </message>
        <message>
            <source>The output layer isn't used for embeddings, so it can't be trained with them.</source>
            <translation>Die Ausgabeschicht wird für Embeddings nicht verwendet und kann deshalb nicht mit ihnen trainiert werden.</translation>
        </message>
        <message>
            <source>The package index can't be reached: {reason}.</source>
            <translation>Der Paketindex ist nicht erreichbar: {reason}.</translation>
        </message>
        <message>
            <source>The package py3langid isn't installed.</source>
            <translation>Das Paket py3langid ist nicht installiert.</translation>
        </message>
        <message>
            <source>The package registry sent an unexpected file for the built-in model: {reason}.</source>
            <translation>Die Paketquelle hat für das mitgelieferte Modell eine unerwartete Datei gesendet: {reason}.</translation>
        </message>
        <message>
            <source>The packages couldn't be installed</source>
            <translation>Die Pakete konnten nicht installiert werden</translation>
        </message>
        <message>
            <source>The playground's models were unloaded to free memory for the job.</source>
            <translation>Die Modelle im Playground wurden entladen, um Speicher für den Auftrag freizugeben.</translation>
        </message>
        <message>
            <source>The previous folder still contains engines ({bytes:size}).</source>
            <translation>Der vorherige Ordner enthält noch Engines ({bytes:size}).</translation>
        </message>
        <message>
            <source>The process exited without reporting a result. Export again to continue; completed files are reused.</source>
            <translation>Der Prozess wurde ohne Ergebnis beendet. Exportieren Sie erneut; fertige Dateien werden wiederverwendet.</translation>
        </message>
        <message>
            <source>The process exited without reporting a result. Merge again to continue; completed files are reused.</source>
            <translation>Der Prozess wurde ohne Ergebnis beendet. Führen Sie erneut zusammen; fertige Dateien werden wiederverwendet.</translation>
        </message>
        <message>
            <source>The process on {device} ({number} of {count})</source>
            <translation>Der Prozess auf {device} ({number} von {count})</translation>
        </message>
        <message>
            <source>The project file has an unknown entry “{key}”.</source>
            <translation>Die Projektdatei enthält einen unbekannten Eintrag „{key}“.</translation>
        </message>
        <message>
            <source>The project file {file} is damaged: it isn't valid TOML ({reason}).</source>
            <translation>Die Projektdatei {file} ist beschädigt: Sie ist kein gültiges TOML ({reason}).</translation>
        </message>
        <message>
            <source>The project file {file} is empty.</source>
            <translation>Die Projektdatei {file} ist leer.</translation>
        </message>
        <message>
            <source>The project folder {folder} no longer exists.</source>
            <translation>Den Projektordner {folder} gibt es nicht mehr.</translation>
        </message>
        <message>
            <source>The project has no file yet.</source>
            <translation>Das Projekt hat noch keine Datei.</translation>
        </message>
        <message numerus="yes">
            <source>The project uses its own llama.cpp with {n} programs. They would run with your permissions. Only allow them if you know where they came from.</source>
            <translation>
                <numerusform>Das Projekt verwendet ein eigenes llama.cpp mit {n} Programm. Es würde mit Ihren Rechten laufen. Erlauben Sie das nur, wenn Sie wissen, woher es stammt.</numerusform>
                <numerusform>Das Projekt verwendet ein eigenes llama.cpp mit {n} Programmen. Sie würden mit Ihren Rechten laufen. Erlauben Sie das nur, wenn Sie wissen, woher sie stammen.</numerusform>
            </translation>
        </message>
        <message>
            <source>The project uses the llama.cpp programs in {folder}. You haven't allowed them to run yet.</source>
            <translation>Das Projekt verwendet die llama.cpp-Programme in {folder}. Sie haben sie noch nicht erlaubt.</translation>
        </message>
        <message>
            <source>The project was saved by a newer version of LoRA Studio (format {version}; this version reads up to {known}).</source>
            <translation>Das Projekt wurde mit einer neueren Version von LoRA Studio gespeichert (Format {version}; diese Version liest bis {known}).</translation>
        </message>
        <message>
            <source>The prompt, the reference, and the answers take the place of the ellipses and parentheses.</source>
            <translation>Anstelle der Auslassungspunkte und Klammern stehen Prompt, Referenz und Antworten.</translation>
        </message>
        <message>
            <source>The proxy requires a user name and password. Add them to HTTPS_PROXY: NAME:PASSWORD@HOST:PORT. They aren't written to the log.</source>
            <translation>Der Proxy verlangt einen Benutzernamen und ein Passwort. Ergänzen Sie sie in HTTPS_PROXY: NAME:PASSWORT@HOST:PORT. Sie werden nicht protokolliert.</translation>
        </message>
        <message>
            <source>The proxy settings can't be used: {reason}.</source>
            <translation>Die Proxy-Einstellungen können nicht verwendet werden: {reason}.</translation>
        </message>
        <message>
            <source>The quantizer of {tool} doesn't have {names}.</source>
            <translation>Der Quantisierer von {tool} kennt {names} nicht.</translation>
        </message>
        <message>
            <source>The queue is a file in the project's runs folder that all windows and the command line share. The queued runs themselves don't depend on it.</source>
            <translation>Die Warteschlange ist eine Datei im Ordner der Läufe, die alle Fenster und die Kommandozeile gemeinsam nutzen. Die Läufe darin hängen nicht von ihr ab.</translation>
        </message>
        <message>
            <source>The queue is empty. Runs that you add start one after another.</source>
            <translation>Die Warteschlange ist leer. Hinzugefügte Läufe starten nacheinander.</translation>
        </message>
        <message>
            <source>The range of float16 may be too small for this model. Choose bfloat16 for the merged model.</source>
            <translation>Der Wertebereich von float16 ist für dieses Modell vielleicht zu klein. Wählen Sie bfloat16 für das zusammengeführte Modell.</translation>
        </message>
        <message>
            <source>The rank {rank:d} is too high for MiSS: {name} has only {inputs:d} inputs.</source>
            <translation>Der Rang {rank:d} ist für MiSS zu hoch: {name} hat nur {inputs:d} Eingänge.</translation>
        </message>
        <message numerus="yes">
            <source>The reasoning of {n} earlier answers of row {row:d} is left out: the chat template shows only the reasoning of the last answer.</source>
            <translation>
                <numerusform>Die Überlegungen von {n} früheren Antwort in Zeile {row:d} fehlen: Die Chat-Vorlage zeigt nur die der letzten Antwort.</numerusform>
                <numerusform>Die Überlegungen von {n} früheren Antworten in Zeile {row:d} fehlen: Die Chat-Vorlage zeigt nur die der letzten Antwort.</numerusform>
            </translation>
        </message>
        <message>
            <source>The record of the last 7 days is kept on this computer only. Amounts of data are unknown (–) or incomplete (≥) for uv, Weights &amp; Biases, and Xet, which transfers files of more than 50 GB.</source>
            <translation>Die Aufzeichnung der letzten 7 Tage bleibt auf diesem Computer. Bei uv, Weights &amp; Biases und Xet, das Dateien über 50 GB überträgt, sind die Datenmengen unbekannt (–) oder unvollständig (≥).</translation>
        </message>
        <message>
            <source>The record of this run, {file}, is damaged: {reason}. Its adapter and models can't be compared with what was trained.</source>
            <translation>Das Protokoll dieses Laufs ({file}) ist beschädigt: {reason}. Adapter und Modelle lassen sich nicht mit dem Trainierten vergleichen.</translation>
        </message>
        <message>
            <source>The reference model isn't available if biases are trained, because training changes the biases of the base model.</source>
            <translation>Das Referenzmodell steht nicht zur Verfügung, wenn Biases trainiert werden, weil das Training die Biases des Basismodells verändert.</translation>
        </message>
        <message>
            <source>The regular expression is invalid.</source>
            <translation>Der reguläre Ausdruck ist ungültig.</translation>
        </message>
        <message>
            <source>The regular expression {pattern} is invalid: {reason}.</source>
            <translation>Der reguläre Ausdruck {pattern} ist ungültig: {reason}.</translation>
        </message>
        <message>
            <source>The reward in {name} is Python code that would run on this computer. You haven't allowed it yet.</source>
            <translation>Die Belohnung in {name} ist Python-Code, der auf diesem Computer laufen würde. Sie haben ihn noch nicht erlaubt.</translation>
        </message>
        <message>
            <source>The reward must be a finite number.</source>
            <translation>Die Belohnung muss eine endliche Zahl sein.</translation>
        </message>
        <message>
            <source>The reward {name} asks for something that you haven't allowed yet: {requests}</source>
            <translation>Die Belohnung {name} verlangt etwas, das Sie noch nicht erlaubt haben: {requests}</translation>
        </message>
        <message>
            <source>The reward {name} has no value for some completions: {reason}</source>
            <translation>Die Belohnung {name} hat für einige Antworten keinen Wert: {reason}</translation>
        </message>
        <message>
            <source>The reward {name} has no value for {failed} of {total} completions: {reason}</source>
            <translation>Die Belohnung {name} hat für {failed} von {total} Antworten keinen Wert: {reason}</translation>
        </message>
        <message>
            <source>The reward {name} is {value:small} for all completions, so there is nothing to learn from it.</source>
            <translation>Die Belohnung {name} ist für alle Antworten {value:small}. Daraus lässt sich nichts lernen.</translation>
        </message>
        <message>
            <source>The right choice is the most likely one per character.</source>
            <translation>Die richtige Wahl ist je Zeichen die wahrscheinlichste.</translation>
        </message>
        <message>
            <source>The right choice is the most likely one.</source>
            <translation>Die richtige Wahl ist die wahrscheinlichste.</translation>
        </message>
        <message>
            <source>The row has no reference answer.</source>
            <translation>Die Zeile hat keine Referenzantwort.</translation>
        </message>
        <message>
            <source>The row has no value in the column “{column}”.</source>
            <translation>Die Zeile hat keinen Wert in der Spalte „{column}“.</translation>
        </message>
        <message>
            <source>The rows are already tokenized ({columns}), possibly with a different tokenizer than your model's.</source>
            <translation>Die Zeilen sind bereits tokenisiert ({columns}), möglicherweise mit einem anderen Tokenizer als dem Ihres Modells.</translation>
        </message>
        <message>
            <source>The rows are parts of code with a gap to fill ({columns}). They are joined with the markers of Qwen Coder and CodeGemma: {text}</source>
            <translation>Die Zeilen sind Code mit einer Lücke, die gefüllt werden soll ({columns}). Die Teile werden mit den Markierungen von Qwen Coder und CodeGemma verbunden: {text}</translation>
        </message>
        <message>
            <source>The rows are trained as a chat. To train on them as they are, choose the format “Plain text”, and map “text” to {template}.</source>
            <translation>Die Zeilen werden als Chat trainiert. Um sie unverändert zu trainieren, wählen Sie das Format „Reiner Text“ und ordnen „text“ die Vorlage {template} zu.</translation>
        </message>
        <message>
            <source>The rows consist of images, audio, or video ({columns}). LoRA Studio can't train on them yet.</source>
            <translation>Die Zeilen bestehen aus Bildern, Audio oder Video ({columns}). Damit kann LoRA Studio noch nicht trainieren.</translation>
        </message>
        <message>
            <source>The rows contain text pairs with a score or a label, or vectors, which LoRA Studio doesn't train on.</source>
            <translation>Die Zeilen enthalten Textpaare mit einer Bewertung oder einem Label oder Vektoren. Damit trainiert LoRA Studio nicht.</translation>
        </message>
        <message>
            <source>The rows have {labels} different labels. A classifier can have up to {most}.</source>
            <translation>Die Zeilen haben {labels} verschiedene Labels. Ein Klassifikator kann höchstens {most} haben.</translation>
        </message>
        <message>
            <source>The rows label parts of texts, such as names ({columns}). LoRA Studio trains one label for each text.</source>
            <translation>Die Zeilen kennzeichnen Teile von Texten, zum Beispiel Namen ({columns}). LoRA Studio trainiert ein Label je Text.</translation>
        </message>
        <message>
            <source>The rows that {run:run} was trained on can't be read: {reason}</source>
            <translation>Die Zeilen, mit denen {run:run} trainiert wurde, können nicht gelesen werden: {reason}</translation>
        </message>
        <message>
            <source>The run can no longer be resumed.</source>
            <translation>Der Lauf lässt sich dann nicht mehr fortsetzen.</translation>
        </message>
        <message>
            <source>The run folder was moved to {path}. The job continues there.</source>
            <translation>Der Ordner des Laufs wurde nach {path} verschoben. Der Vorgang läuft dort weiter.</translation>
        </message>
        <message>
            <source>The run folder {path} was moved or deleted while a job was using it.</source>
            <translation>Der Ordner {path} des Laufs wurde verschoben oder gelöscht, während ein Vorgang ihn verwendet hat.</translation>
        </message>
        <message>
            <source>The run folder {path} was moved or deleted.</source>
            <translation>Der Ordner {path} des Laufs wurde verschoben oder gelöscht.</translation>
        </message>
        <message>
            <source>The run has no {quantization} file.</source>
            <translation>Der Lauf hat keine Datei {quantization}.</translation>
        </message>
        <message>
            <source>The run started with this backend.</source>
            <translation>Der Lauf wurde mit diesem Backend begonnen.</translation>
        </message>
        <message>
            <source>The run was created by a newer version of LoRA Studio.</source>
            <translation>Der Lauf wurde mit einer neueren Version von LoRA Studio angelegt.</translation>
        </message>
        <message>
            <source>The run with these values was deleted.</source>
            <translation>Der Lauf mit diesen Werten wurde gelöscht.</translation>
        </message>
        <message>
            <source>The same role appears twice in a row in {rows}. Many chat templates reject this.</source>
            <translation>In {rows} kommt dieselbe Rolle zweimal nacheinander vor. Viele Chat-Vorlagen lehnen das ab.</translation>
        </message>
        <message>
            <source>The section {step} has no setting named {name}.</source>
            <translation>Der Abschnitt {step} hat keine Einstellung namens {name}.</translation>
        </message>
        <message>
            <source>The selected runs didn't record this.</source>
            <translation>Die ausgewählten Läufe haben das nicht aufgezeichnet.</translation>
        </message>
        <message>
            <source>The self-test</source>
            <translation>Der Selbsttest</translation>
        </message>
        <message>
            <source>The self-test asks each form of the model the same questions. If the answers differ, the exported model isn't what you trained. Don't use that file until the test passes.</source>
            <translation>Der Selbsttest stellt jeder Form des Modells dieselben Fragen. Weichen die Antworten ab, ist das exportierte Modell nicht das trainierte. Verwenden Sie diese Datei erst, wenn der Test bestanden ist.</translation>
        </message>
        <message>
            <source>The self-test failed for {stages}, so no model is created.</source>
            <translation>Der Selbsttest ist für {stages} fehlgeschlagen, daher wird kein Modell erstellt.</translation>
        </message>
        <message>
            <source>The self-test measures how much. If it is too much, train in 16 bits, or on a model that is stored in 4 bits: merged into that, the weights stay as they were in training.</source>
            <translation>Der Selbsttest misst, wie sehr. Wenn es zu viel ist, trainieren Sie in 16 Bit oder auf einem Modell, das in 4 Bit gespeichert ist: Beim Zusammenführen mit diesem bleiben die Gewichte so, wie sie beim Training waren.</translation>
        </message>
        <message numerus="yes">
            <source>The self-test reads {n} held-out conversations ({positions} answer positions).</source>
            <translation>
                <numerusform>Der Selbsttest liest {n} zurückgehaltenes Gespräch ({positions} Antwortpositionen).</numerusform>
                <numerusform>Der Selbsttest liest {n} zurückgehaltene Gespräche ({positions} Antwortpositionen).</numerusform>
            </translation>
        </message>
        <message>
            <source>The server at {host} is not Ollama.</source>
            <translation>Der Server auf {host} ist nicht Ollama.</translation>
        </message>
        <message>
            <source>The settings on the Train page are checked before each start. A message next to a setting tells you if it doesn't fit your data or device.</source>
            <translation>Die Einstellungen auf der Seite „Training“ werden vor jedem Start geprüft. Passt eine nicht zu Ihren Daten oder Ihrem Gerät, steht ein Hinweis daneben.</translation>
        </message>
        <message>
            <source>The setup failed unexpectedly: {error}.</source>
            <translation>Die Einrichtung ist unerwartet fehlgeschlagen: {error}.</translation>
        </message>
        <message>
            <source>The share of JSON fields that equal those of the reference.</source>
            <translation>Der Anteil der JSON-Felder, die denen der Referenz gleichen.</translation>
        </message>
        <message>
            <source>The share of tags that the completion uses once each, and in order.</source>
            <translation>Der Anteil der Tags, die die Antwort je einmal und in der richtigen Reihenfolge verwendet.</translation>
        </message>
        <message>
            <source>The shortest length is above the longest one.</source>
            <translation>Die kürzeste Länge liegt über der längsten.</translation>
        </message>
        <message>
            <source>The small built-in model. It is downloaded once, when it is first needed.</source>
            <translation>Das mitgelieferte kleine Modell. Es wird einmal heruntergeladen, sobald es gebraucht wird.</translation>
        </message>
        <message>
            <source>The sources can't be trained on together: {sources}.</source>
            <translation>Die Quellen können nicht zusammen trainiert werden: {sources}.</translation>
        </message>
        <message>
            <source>The standalone Python couldn't be installed</source>
            <translation>Das eigenständige Python konnte nicht installiert werden</translation>
        </message>
        <message>
            <source>The system ended the training because memory ran out.</source>
            <translation>Das System beendete das Training, weil der Speicher nicht reichte.</translation>
        </message>
        <message>
            <source>The system has no program for this file or folder. Its path is:</source>
            <translation>Das System hat kein Programm für diese Datei oder diesen Ordner. Der Pfad lautet:</translation>
        </message>
        <message>
            <source>The system has no web browser. The address is:</source>
            <translation>Das System hat keinen Webbrowser. Die Adresse lautet:</translation>
        </message>
        <message>
            <source>The system killed the worker because memory ran out.</source>
            <translation>Das System hat den Worker beendet, weil der Arbeitsspeicher ausging.</translation>
        </message>
        <message>
            <source>The teacher has changed since the training started.</source>
            <translation>Der Lehrer hat sich seit dem Beginn des Trainings geändert.</translation>
        </message>
        <message>
            <source>The teacher isn't used: only supervised training learns from a teacher.</source>
            <translation>Der Lehrer wird nicht verwendet: Nur überwachtes Training lernt von einem Lehrer.</translation>
        </message>
        <message>
            <source>The teacher needs about {memory:memory} first, and is freed before the training. Its probabilities take up to {disk:size} on disk.</source>
            <translation>Der Lehrer braucht zuerst etwa {memory:memory} und wird vor dem Training wieder entladen. Seine Wahrscheinlichkeiten belegen bis zu {disk:size} auf dem Datenträger.</translation>
        </message>
        <message>
            <source>The teacher needs more memory than there is. {reason}</source>
            <translation>Der Lehrer braucht mehr Speicher, als vorhanden ist. {reason}</translation>
        </message>
        <message>
            <source>The teacher {teacher} has another tokenizer: token {number:d} is “{own}” in the model and {other} in the teacher.</source>
            <translation>Der Lehrer {teacher} hat einen anderen Tokenizer: Token {number:d} ist im Modell „{own}“ und im Lehrer {other}.</translation>
        </message>
        <message>
            <source>The template was stopped: it ran for more than {seconds:duration}.</source>
            <translation>Die Vorlage wurde gestoppt: sie lief länger als {seconds:duration}.</translation>
        </message>
        <message>
            <source>The template was stopped: it used more than {limit:memory} of memory.</source>
            <translation>Die Vorlage wurde gestoppt: sie brauchte mehr als {limit:memory} Arbeitsspeicher.</translation>
        </message>
        <message>
            <source>The tensor {tensor} contains NaN values.</source>
            <translation>Der Tensor {tensor} enthält NaN-Werte.</translation>
        </message>
        <message>
            <source>The tensor {tensor} contains infinite values.</source>
            <translation>Der Tensor {tensor} enthält unendliche Werte.</translation>
        </message>
        <message>
            <source>The tensor {tensor} contains values that are too large for {quantization}.</source>
            <translation>Der Tensor {tensor} enthält Werte, die für {quantization} zu groß sind.</translation>
        </message>
        <message>
            <source>The test set has no usable rows.</source>
            <translation>Die Testdaten haben keine verwendbaren Zeilen.</translation>
        </message>
        <message>
            <source>The text of a validation row is also in {rows}, exactly or nearly. The eval loss would look better than it is.</source>
            <translation>Der Text einer Validierungszeile steht genau oder fast genauso auch in {rows}. Der Eval-Loss würde besser aussehen, als er ist.</translation>
        </message>
        <message>
            <source>The texts have scores ({columns}), not labels. LoRA Studio doesn't train on scores.</source>
            <translation>Die Texte haben Punktwerte ({columns}) statt Labels. Mit Punktwerten trainiert LoRA Studio nicht.</translation>
        </message>
        <message>
            <source>The texts of the other {n} rows of its step are the negatives of a query, however many are computed at once. The vector of a text is read from its last token.</source>
            <translation>Die Texte der anderen {n} Zeilen ihres Schritts sind die Negativbeispiele einer Anfrage, egal wie viele gleichzeitig berechnet werden. Der Vektor eines Textes ist der seines letzten Tokens.</translation>
        </message>
        <message>
            <source>The texts of the other {n} rows of its step are the negatives of a query, however many are computed at once. The vector of a text is the mean over its tokens.</source>
            <translation>Die Texte der anderen {n} Zeilen ihres Schritts sind die Negativbeispiele einer Anfrage, egal wie viele gleichzeitig berechnet werden. Der Vektor eines Textes ist der Mittelwert über seine Tokens.</translation>
        </message>
        <message>
            <source>The token IDs are identical.</source>
            <translation>Die Token-IDs sind identisch.</translation>
        </message>
        <message>
            <source>The token IDs differ.</source>
            <translation>Die Token-IDs unterscheiden sich.</translation>
        </message>
        <message>
            <source>The tokenizer can't add the end token that embeddings are read from.</source>
            <translation>Der Tokenizer kann das End-Token nicht anfügen, aus dem Embeddings gelesen werden.</translation>
        </message>
        <message>
            <source>The tokenizer {tokenizer} doesn't report character offsets, so answers can't be told apart from questions.</source>
            <translation>Der Tokenizer {tokenizer} liefert keine Zeichenpositionen; Antworten lassen sich so nicht von Fragen trennen.</translation>
        </message>
        <message>
            <source>The tokens of this row. Trained tokens count in the loss, context tokens don't, and tokens that are cut off are dropped.</source>
            <translation>Die Tokens dieser Zeile. Trainierte Tokens zählen im Loss, Kontext-Tokens nicht, und abgeschnittene Tokens fallen weg.</translation>
        </message>
        <message>
            <source>The trained model can't be exported as GGUF: llama.cpp's converter doesn't support the architecture {architecture}.</source>
            <translation>Das trainierte Modell kann nicht als GGUF exportiert werden: Der Konverter von llama.cpp unterstützt die Architektur {architecture} nicht.</translation>
        </message>
        <message>
            <source>The training backend is PEFT. {reason}</source>
            <translation>Trainiert wird mit PEFT. {reason}</translation>
        </message>
        <message>
            <source>The training backend is Unsloth {version}. {reason}</source>
            <translation>Trainiert wird mit Unsloth {version}. {reason}</translation>
        </message>
        <message>
            <source>The training itself isn't affected.</source>
            <translation>Das Training selbst ist davon nicht betroffen.</translation>
        </message>
        <message>
            <source>The training processes read different rows.</source>
            <translation>Die Trainingsprozesse haben unterschiedliche Zeilen gelesen.</translation>
        </message>
        <message>
            <source>The training rows have changed since the checkpoint was saved.</source>
            <translation>Die Trainingszeilen haben sich seit dem Checkpoint geändert.</translation>
        </message>
        <message>
            <source>The training time can be estimated once you have trained a similar model on this device.</source>
            <translation>Die Trainingsdauer lässt sich schätzen, sobald Sie auf diesem Gerät ein ähnliches Modell trainiert haben.</translation>
        </message>
        <message>
            <source>The two templates render different text.</source>
            <translation>Die beiden Vorlagen erzeugen unterschiedlichen Text.</translation>
        </message>
        <message>
            <source>The upload is complete.</source>
            <translation>Das Hochladen ist fertig.</translation>
        </message>
        <message>
            <source>The upload to {repository} failed: the Hub answered with status {status:d}.</source>
            <translation>Der Upload zu {repository} ist fehlgeschlagen: der Hub hat mit Status {status:d} geantwortet.</translation>
        </message>
        <message>
            <source>The upload to {repository} failed: the Hub didn't respond.</source>
            <translation>Der Upload zu {repository} ist fehlgeschlagen: Der Hub hat nicht geantwortet.</translation>
        </message>
        <message>
            <source>The upload to {repository} was interrupted ({reason}).</source>
            <translation>Der Upload zu {repository} wurde unterbrochen ({reason}).</translation>
        </message>
        <message>
            <source>The uv installer wasn't found.</source>
            <translation>Das Installationsprogramm uv wurde nicht gefunden.</translation>
        </message>
        <message>
            <source>The value that a function in your Python file returns.</source>
            <translation>Der Wert, den eine Funktion in Ihrer Python-Datei zurückgibt.</translation>
        </message>
        <message>
            <source>The vectors in Ollama weren't compared: {reason}</source>
            <translation>Die Vektoren in Ollama wurden nicht verglichen: {reason}</translation>
        </message>
        <message>
            <source>The vectors of held-out texts have a cosine similarity of at least {value} to the trained ones.</source>
            <translation>Die Vektoren zurückgehaltener Texte haben zu den trainierten eine Kosinus-Ähnlichkeit von mindestens {value}.</translation>
        </message>
        <message>
            <source>The weights don't fit on one GPU, so each holds a part of them.</source>
            <translation>Die Gewichte passen nicht auf eine GPU, deshalb hält jede einen Teil davon.</translation>
        </message>
        <message>
            <source>The weights don't fit on one GPU, so each of {count} holds some of the layers. One computes at a time.</source>
            <translation>Die Gewichte passen nicht auf eine GPU, deshalb hält jede der {count} einige der Schichten. Es rechnet immer nur eine.</translation>
        </message>
        <message>
            <source>The weights fit on one GPU, so training uses only one, currently {title} ({device}).</source>
            <translation>Die Gewichte passen auf eine GPU, deshalb nutzt das Training nur eine, derzeit {title} ({device}).</translation>
        </message>
        <message>
            <source>The weights of this model are quantized and can't be sharded across devices.</source>
            <translation>Die Gewichte dieses Modells sind quantisiert und lassen sich nicht auf mehrere Geräte aufteilen.</translation>
        </message>
        <message>
            <source>The wheel folder lacks packages that the engine needs here: {reason}</source>
            <translation>Im Wheel-Ordner fehlen Pakete, die die Engine hier braucht: {reason}</translation>
        </message>
        <message>
            <source>The wheel of LoRA Studio couldn't be built from source</source>
            <translation>Das Wheel von LoRA Studio konnte nicht aus dem Quellcode gebaut werden</translation>
        </message>
        <message>
            <source>The wheels need {needed:size} more disk space, but only {free:size} is free.</source>
            <translation>Die Wheels brauchen noch {needed:size} Speicherplatz, aber nur {free:size} sind frei.</translation>
        </message>
        <message>
            <source>The window closes in a moment.</source>
            <translation>Das Fenster schließt sich gleich.</translation>
        </message>
        <message>
            <source>The words of the reference occur in the answer, in this order.</source>
            <translation>Die Wörter der Referenz kommen in der Antwort in dieser Reihenfolge vor.</translation>
        </message>
        <message>
            <source>The worker couldn't start: the system doesn't allow more processes or threads (`ulimit -u`).</source>
            <translation>Der Worker konnte nicht starten: Das System erlaubt keine weiteren Prozesse oder Threads (`ulimit -u`).</translation>
        </message>
        <message>
            <source>The worker ended with exit status {code:d}.</source>
            <translation>Der Worker endete mit dem Exit-Status {code:d}.</translation>
        </message>
        <message>
            <source>The worker ended without a result.</source>
            <translation>Der Worker endete ohne Ergebnis.</translation>
        </message>
        <message>
            <source>The worker stopped unexpectedly (killed by signal {name}).</source>
            <translation>Der Worker wurde unerwartet beendet (durch das Signal {name}).</translation>
        </message>
        <message>
            <source>The worker stopped unexpectedly.</source>
            <translation>Der Worker wurde unerwartet beendet.</translation>
        </message>
        <message>
            <source>The worker stopped unexpectedly: a file that it was using can no longer be read. The disk reported an error, or another program shortened the file.</source>
            <translation>Der Worker wurde unerwartet beendet: Eine Datei, die er verwendete, lässt sich nicht mehr lesen. Der Datenträger hat einen Fehler gemeldet, oder ein anderes Programm hat die Datei gekürzt.</translation>
        </message>
        <message numerus="yes">
            <source>The {n} selected runs have the same settings.</source>
            <translation>
                <numerusform>Der ausgewählte Lauf hat dieselben Einstellungen.</numerusform>
                <numerusform>Die {n} ausgewählten Läufe haben dieselben Einstellungen.</numerusform>
            </translation>
        </message>
        <message>
            <source>The {quantization} file</source>
            <translation>Die Datei {quantization}</translation>
        </message>
        <message>
            <source>The {quantization} file failed the self-test, so no Ollama model was created.</source>
            <translation>Die Datei {quantization} hat den Selbsttest nicht bestanden, daher wurde kein Ollama-Modell erstellt.</translation>
        </message>
        <message>
            <source>Theme</source>
            <translation>Farbschema</translation>
        </message>
        <message>
            <source>There are control tokens of a chat template in {rows}, such as &lt;|im_end|&gt; or [INST]. The model would learn to write them in its answers.</source>
            <translation>In {rows} stehen Steuertokens einer Chat-Vorlage, etwa &lt;|im_end|&gt; oder [INST]. Das Modell würde lernen, sie in seine Antworten zu schreiben.</translation>
        </message>
        <message>
            <source>There are e-mail addresses, phone, card, or account numbers, or access keys in {rows}. The model could repeat them to anyone. Masking replaces them with words such as [EMAIL].</source>
            <translation>In {rows} stehen E-Mail-Adressen, Telefon-, Karten- oder Kontonummern oder Zugangsschlüssel. Das Modell könnte sie jedem verraten. Beim Maskieren werden sie durch Wörter wie [EMAIL] ersetzt.</translation>
        </message>
        <message>
            <source>There are images, audio, video, or placeholders for them such as &lt;image&gt; in {rows}. LoRA Studio can't train on them yet, so these rows are skipped. Use them as text only if their texts make sense without what they refer to.</source>
            <translation>In {rows} stehen Bilder, Audio, Video oder Platzhalter dafür wie &lt;image&gt;. Damit kann LoRA Studio noch nicht trainieren, deshalb werden diese Zeilen übersprungen. Verwenden Sie nur ihren Text, wenn er auch ohne das verständlich ist, worauf er sich bezieht.</translation>
        </message>
        <message>
            <source>There are invisible control characters in {rows}. The model would learn to write them.</source>
            <translation>In {rows} stehen unsichtbare Steuerzeichen. Das Modell würde lernen, sie zu schreiben.</translation>
        </message>
        <message>
            <source>There are no rows to train on.</source>
            <translation>Es gibt keine Zeilen zum Trainieren.</translation>
        </message>
        <message>
            <source>There are prompts ({columns}) but no answers, so there is nothing to learn.</source>
            <translation>Es gibt Prompts ({columns}), aber keine Antworten, also nichts zu lernen.</translation>
        </message>
        <message>
            <source>There are prompts but no answers, so there is nothing to learn.</source>
            <translation>Es gibt Prompts, aber keine Antworten, also nichts zu lernen.</translation>
        </message>
        <message>
            <source>There are up to {longest} characters in {rows}, but half of all rows have at most {median}. The longest row determines how much memory training uses.</source>
            <translation>In {rows} stehen bis zu {longest} Zeichen, die Hälfte aller Zeilen hat aber höchstens {median}. Die längste Zeile bestimmt, wie viel Speicher das Training braucht.</translation>
        </message>
        <message>
            <source>There is no built-in model named {name}.</source>
            <translation>Es gibt kein mitgeliefertes Modell namens {name}.</translation>
        </message>
        <message>
            <source>There is no checkpoint to resume from.</source>
            <translation>Es gibt keinen Checkpoint zum Fortsetzen.</translation>
        </message>
        <message>
            <source>There is no checkpoint yet. Training starts from the beginning.</source>
            <translation>Es gibt noch keinen Checkpoint. Das Training beginnt von vorn.</translation>
        </message>
        <message>
            <source>There is no engine named {name}.</source>
            <translation>Es gibt keine Engine namens {name}.</translation>
        </message>
        <message>
            <source>There is no llama-server at {path}.</source>
            <translation>Unter {path} gibt es keinen llama-server.</translation>
        </message>
        <message>
            <source>There is no preset named {name}.</source>
            <translation>Es gibt keine Voreinstellung namens {name}.</translation>
        </message>
        <message>
            <source>There is no previous engine to return to.</source>
            <translation>Es gibt keine vorherige Engine, zu der Sie zurückkehren können.</translation>
        </message>
        <message>
            <source>There is no setting named {setting}.</source>
            <translation>Es gibt keine Einstellung namens {setting}.</translation>
        </message>
        <message>
            <source>There is no trained adapter in {folder}.</source>
            <translation>In {folder} gibt es keinen trainierten Adapter.</translation>
        </message>
        <message>
            <source>There is nothing to export: this run has no adapter.</source>
            <translation>Es gibt nichts zu exportieren: Dieser Lauf hat keinen Adapter.</translation>
        </message>
        <message>
            <source>There is “�” in {rows}, which replaces a character that was lost earlier. It can't be restored.</source>
            <translation>In {rows} steht „�“ anstelle eines Zeichens, das früher verloren ging. Es lässt sich nicht wiederherstellen.</translation>
        </message>
        <message>
            <source>There wasn't enough memory to generate sample answers.</source>
            <translation>Der Speicher reichte nicht für Beispielantworten.</translation>
        </message>
        <message>
            <source>There wasn't enough memory to save the adapter of step {step:d}, the best so far.</source>
            <translation>Der Speicher reichte nicht, um den Adapter von Schritt {step:d} zu speichern, den bisher besten.</translation>
        </message>
        <message>
            <source>These are all held-out conversations. {conversations} conversations with {positions} answer positions would give a more reliable result.</source>
            <translation>Das sind alle zurückgehaltenen Gespräche. {conversations} Gespräche mit {positions} Antwortpositionen ergäben ein verlässlicheres Ergebnis.</translation>
        </message>
        <message>
            <source>These evaluations have no items in common.</source>
            <translation>Diese Auswertungen haben keine gemeinsamen Aufgaben.</translation>
        </message>
        <message>
            <source>These labels have fewer than {limit} rows each: {labels} ({rows}). Add rows, or remove these labels: a classifier needs dozens of rows to learn a label.</source>
            <translation>Diese Labels haben jeweils weniger als {limit} Zeilen: {labels} ({rows}). Fügen Sie Zeilen hinzu oder entfernen Sie diese Labels: Um ein Label zu lernen, braucht ein Klassifikator Dutzende Zeilen.</translation>
        </message>
        <message>
            <source>These layers get no adapter: {names}. The model hands their weights to a fused kernel, which would ignore an adapter.</source>
            <translation>Diese Schichten bekommen keinen Adapter: {names}. Das Modell übergibt ihre Gewichte einem fusionierten Kernel, der einen Adapter nicht berücksichtigen würde.</translation>
        </message>
        <message>
            <source>These rows are skipped. If their texts make sense without what they refer to, turn on the repair “Use rows with images, audio, or video as text only” (remove_media).</source>
            <translation>Diese Zeilen werden übersprungen. Wenn ihre Texte auch ohne das verständlich sind, worauf sie sich beziehen, schalten Sie die Reparatur „Von Zeilen mit Bildern, Audio oder Video nur den Text verwenden“ (remove_media) ein.</translation>
        </message>
        <message>
            <source>These settings ask for more</source>
            <translation>Diese Einstellungen verlangen mehr</translation>
        </message>
        <message>
            <source>These values create {count} runs.</source>
            <translation>Mit diesen Werten entstehen {count} Läufe.</translation>
        </message>
        <message>
            <source>They are left out. Their share is among the curves.</source>
            <translation>Sie werden ausgelassen. Ihr Anteil steht bei den Kurven.</translation>
        </message>
        <message>
            <source>They arrive in `content`, as the model writes them. Ollama 0.30 and later recognizes more forms; llama.cpp's llama-server recognizes the most.</source>
            <translation>Sie kommen in `content` an, wie das Modell sie schreibt. Ollama ab 0.30 erkennt mehr Formen, der llama-server von llama.cpp die meisten.</translation>
        </message>
        <message>
            <source>They were created with other settings: {changes}. Export again to apply them.</source>
            <translation>Sie wurden mit anderen Einstellungen erstellt: {changes}. Exportieren Sie erneut, um sie anzuwenden.</translation>
        </message>
        <message>
            <source>This Python lacks packages that training needs: {packages}.</source>
            <translation>Diesem Python fehlen Pakete, die das Training braucht: {packages}.</translation>
        </message>
        <message>
            <source>This adapter scores answers and can't write them: it belongs to a reward model or a classifier.</source>
            <translation>Dieser Adapter bewertet Antworten und kann keine schreiben: Er gehört zu einem Belohnungsmodell oder einem Klassifikator.</translation>
        </message>
        <message>
            <source>This adapter turns texts into vectors and can't write any: it belongs to an embedding model.</source>
            <translation>Dieser Adapter wandelt Texte in Vektoren um und kann keine schreiben: Er gehört zu einem Embedding-Modell.</translation>
        </message>
        <message>
            <source>This answer is labeled bad.</source>
            <translation>Diese Antwort ist als schlecht bewertet.</translation>
        </message>
        <message>
            <source>This answer is labeled good.</source>
            <translation>Diese Antwort ist als gut bewertet.</translation>
        </message>
        <message>
            <source>This applies to exactly this code. If a file changes, you're asked again. You can withdraw it in Settings.</source>
            <translation>Das gilt genau für diesen Code. Ändert sich eine Datei, werden Sie erneut gefragt. In den Einstellungen können Sie die Erlaubnis zurückziehen.</translation>
        </message>
        <message numerus="yes">
            <source>This build of PyTorch has no code for {n} older or newer GPUs. They aren't used.</source>
            <translation>
                <numerusform>Dieser Build von PyTorch enthält keinen Code für {n} ältere oder neuere GPU. Sie wird nicht verwendet.</numerusform>
                <numerusform>Dieser Build von PyTorch enthält keinen Code für {n} ältere oder neuere GPUs. Sie werden nicht verwendet.</numerusform>
            </translation>
        </message>
        <message>
            <source>This chat template contains the current date, which Ollama {version} doesn't support. The TEMPLATE contains the fixed date {date} instead. Newer versions of Ollama insert the current date.</source>
            <translation>Diese Chat-Vorlage enthält das aktuelle Datum, was Ollama {version} nicht unterstützt. Das TEMPLATE enthält stattdessen das feste Datum {date}. Neuere Versionen von Ollama setzen das aktuelle Datum ein.</translation>
        </message>
        <message>
            <source>This computer</source>
            <translation>Dieser Computer</translation>
        </message>
        <message>
            <source>This computer has an NVIDIA GPU, but its driver isn't installed or doesn't respond. Install NVIDIA's driver 525 or newer, restart the computer, and set up the engine again.</source>
            <translation>Dieser Computer hat eine NVIDIA-GPU, aber ihr Treiber ist nicht installiert oder antwortet nicht. Installieren Sie den NVIDIA-Treiber 525 oder neuer, starten Sie den Computer neu und richten Sie die Engine erneut ein.</translation>
        </message>
        <message>
            <source>This computer has no device {device} that PyTorch {version} can use.</source>
            <translation>Dieser Computer hat kein Gerät {device}, das PyTorch {version} verwenden kann.</translation>
        </message>
        <message>
            <source>This evaluation was started by someone else or on another computer. It would {requests}.</source>
            <translation>Diese Auswertung wurde von jemand anderem oder auf einem anderen Computer begonnen. Sie würde {requests}.</translation>
        </message>
        <message>
            <source>This file has changed. Close this dialog and review the code again.</source>
            <translation>Diese Datei hat sich geändert. Schließen Sie diesen Dialog und prüfen Sie den Code erneut.</translation>
        </message>
        <message>
            <source>This file is too long to be shown in full. This is how it begins:</source>
            <translation>Diese Datei ist zu lang, um ganz angezeigt zu werden. So beginnt sie:</translation>
        </message>
        <message>
            <source>This file isn't a Python executable.</source>
            <translation>Diese Datei ist kein ausführbares Python.</translation>
        </message>
        <message>
            <source>This file or folder no longer exists:</source>
            <translation>Diese Datei oder dieser Ordner existiert nicht mehr:</translation>
        </message>
        <message>
            <source>This folder contains no wheels.</source>
            <translation>Dieser Ordner enthält keine Wheels.</translation>
        </message>
        <message>
            <source>This folder isn't empty. Choose another name.</source>
            <translation>Dieser Ordner ist nicht leer. Wählen Sie einen anderen Namen.</translation>
        </message>
        <message>
            <source>This format has no slot “{slot}”.</source>
            <translation>Dieses Format hat kein Feld „{slot}“.</translation>
        </message>
        <message>
            <source>This installation is missing its own wheel ({pattern}), which the engine needs.</source>
            <translation>Dieser Installation fehlt das eigene Wheel ({pattern}), das die Engine braucht.</translation>
        </message>
        <message>
            <source>This is a bug in LoRA Studio. Don't use this model in Ollama, and report the bug with the run's log.</source>
            <translation>Das ist ein Fehler in LoRA Studio. Verwenden Sie dieses Modell nicht in Ollama und melden Sie den Fehler zusammen mit dem Protokoll des Laufs.</translation>
        </message>
        <message>
            <source>This is a bug in LoRA Studio. Your project is saved, and a running job continues without the window. To report the bug, attach a diagnostics file (Help menu).</source>
            <translation>Das ist ein Fehler in LoRA Studio. Ihr Projekt ist gespeichert, und ein laufender Auftrag läuft ohne das Fenster weiter. Fügen Sie einem Fehlerbericht bitte eine Diagnosedatei (Menü Hilfe) bei.</translation>
        </message>
        <message>
            <source>This is a compiled program.</source>
            <translation>Dies ist ein kompiliertes Programm.</translation>
        </message>
        <message>
            <source>This is a {bits}-bit Python {version}.</source>
            <translation>Das ist ein Python {version} mit {bits} Bit.</translation>
        </message>
        <message>
            <source>This job starts automatically when the other one ends. You can also cancel one of the jobs, or choose another device on the Model page.</source>
            <translation>Dieser Auftrag startet automatisch, sobald der andere endet. Sie können auch einen der beiden abbrechen oder auf der Seite „Modell“ ein anderes Gerät wählen.</translation>
        </message>
        <message>
            <source>This language can't be recognized.</source>
            <translation>Diese Sprache kann nicht erkannt werden.</translation>
        </message>
        <message>
            <source>This model can't be quantized to {names}, which is only for mixtures of experts.</source>
            <translation>Dieses Modell kann nicht zu {names} quantisiert werden: Das ist nur für Mixture-of-Experts-Modelle.</translation>
        </message>
        <message>
            <source>This model can't be quantized to {names}: the rows of its weights don't fit the block size.</source>
            <translation>Dieses Modell lässt sich nicht zu {names} quantisieren: die Zeilen seiner Gewichte passen nicht zur Blockgröße.</translation>
        </message>
        <message>
            <source>This model is already quantized ({method}).</source>
            <translation>Dieses Modell ist schon quantisiert ({method}).</translation>
        </message>
        <message>
            <source>This model's chat template doesn't support a system message.</source>
            <translation>Die Chat-Vorlage dieses Modells unterstützt keine Systemnachricht.</translation>
        </message>
        <message>
            <source>This one-minute tour opens the sample project: a small model, some training data, and all settings filled in.</source>
            <translation>Diese Tour dauert eine Minute und öffnet das Beispielprojekt: ein kleines Modell, einige Trainingsdaten und fertige Einstellungen.</translation>
        </message>
        <message>
            <source>This permanently deletes {size} in {folder}. Your projects, models, and runs aren't affected. You can't train without an engine, but you can install it again at any time.</source>
            <translation>Dies löscht {size} in {folder} endgültig. Projekte, Modelle und Läufe sind nicht betroffen. Ohne Engine können Sie nicht trainieren; Sie können sie jederzeit wieder installieren.</translation>
        </message>
        <message>
            <source>This project asks for more than before</source>
            <translation>Dieses Projekt verlangt mehr als bisher</translation>
        </message>
        <message>
            <source>This project has no runs.</source>
            <translation>Dieses Projekt hat noch keine Läufe.</translation>
        </message>
        <message>
            <source>This project is new on this computer</source>
            <translation>Dieses Projekt ist auf diesem Computer neu</translation>
        </message>
        <message>
            <source>This project is new on this computer. It asks for nothing outside its folder.</source>
            <translation>Dieses Projekt ist auf diesem Computer neu. Es verlangt nichts außerhalb seines Ordners.</translation>
        </message>
        <message>
            <source>This row is skipped, so it isn't tokenized.</source>
            <translation>Diese Zeile wird übersprungen und daher nicht tokenisiert.</translation>
        </message>
        <message>
            <source>This run didn't train a classifier.</source>
            <translation>Dieser Lauf hat keinen Klassifikator trainiert.</translation>
        </message>
        <message>
            <source>This run has no GGUF file yet.</source>
            <translation>Dieser Lauf hat noch keine GGUF-Datei.</translation>
        </message>
        <message>
            <source>This run has no adapter yet.</source>
            <translation>Dieser Lauf hat noch keinen Adapter.</translation>
        </message>
        <message>
            <source>This run has no evaluation named {name}.</source>
            <translation>Dieser Lauf hat keine Auswertung namens {name}.</translation>
        </message>
        <message>
            <source>This run has no file {file}.</source>
            <translation>Dieser Lauf hat keine Datei {file}.</translation>
        </message>
        <message>
            <source>This run has no merged model or GGUF file to test.</source>
            <translation>Dieser Lauf hat kein zusammengeführtes Modell und keine GGUF-Datei zum Testen.</translation>
        </message>
        <message>
            <source>This run has no merged model yet.</source>
            <translation>Dieser Lauf hat noch kein zusammengeführtes Modell.</translation>
        </message>
        <message>
            <source>This run has no merged model.</source>
            <translation>Dieser Lauf hat kein zusammengeführtes Modell.</translation>
        </message>
        <message>
            <source>This run has no trained adapter yet.</source>
            <translation>Dieser Lauf hat noch keinen trainierten Adapter.</translation>
        </message>
        <message>
            <source>This run has no trained classifier yet.</source>
            <translation>Dieser Lauf hat noch keinen trainierten Klassifikator.</translation>
        </message>
        <message>
            <source>This run held out no rows of its dataset.</source>
            <translation>Dieser Lauf hat keine Zeilen seiner Daten zurückgehalten.</translation>
        </message>
        <message>
            <source>This run is new on this computer</source>
            <translation>Dieser Lauf ist neu auf diesem Computer</translation>
        </message>
        <message>
            <source>This run was created by someone else or on another computer. It asks for something that you haven't allowed yet: {requests}</source>
            <translation>Dieser Lauf wurde von jemand anderem oder auf einem anderen Computer erstellt. Er verlangt etwas, das Sie noch nicht erlaubt haben: {requests}</translation>
        </message>
        <message>
            <source>This server builds its prompts from the chat template in the GGUF file. Only the server can show them.</source>
            <translation>Dieser Server erstellt seine Prompts aus der Chat-Vorlage in der GGUF-Datei. Nur der Server kann sie zeigen.</translation>
        </message>
        <message>
            <source>This server is on another computer: prompts and answers are sent there.</source>
            <translation>Dieser Server läuft auf einem anderen Computer: Prompts und Antworten werden dorthin gesendet.</translation>
        </message>
        <message>
            <source>This setting can't be used with stacked experts ({names}): {setting}.</source>
            <translation>Diese Einstellung ist mit gestapelten Experten ({names}) nicht möglich: {setting}.</translation>
        </message>
        <message>
            <source>This setting is already selected as the first setting.</source>
            <translation>Diese Einstellung ist bereits als erste ausgewählt.</translation>
        </message>
        <message>
            <source>This wheel folder is for version {folder}, but LoRA Studio has version {app}.</source>
            <translation>Dieser Wheel-Ordner ist für Version {folder}, LoRA Studio hat aber Version {app}.</translation>
        </message>
        <message>
            <source>Ties</source>
            <translation>Unentschieden</translation>
        </message>
        <message>
            <source>Time</source>
            <translation>Zeit</translation>
        </message>
        <message>
            <source>Time limit</source>
            <translation>Zeitgrenze</translation>
        </message>
        <message>
            <source>Tip: change one setting at a time to see its effect.</source>
            <translation>Tipp: Ändern Sie immer nur eine Einstellung, um ihre Wirkung zu sehen.</translation>
        </message>
        <message>
            <source>Title</source>
            <translation>Titel</translation>
        </message>
        <message>
            <source>To chat, you need a run with a trained adapter, or a merged or exported model. Choose another model, or finish that step first.</source>
            <translation>Zum Chatten brauchen Sie einen Lauf mit trainiertem Adapter oder ein zusammengeführtes oder exportiertes Modell. Wählen Sie ein anderes Modell oder schließen Sie zuerst diesen Schritt ab.</translation>
        </message>
        <message>
            <source>To choose where PyTorch comes from, set {variable}.</source>
            <translation>Setzen Sie {variable}, um zu bestimmen, woher PyTorch kommt.</translation>
        </message>
        <message>
            <source>To compare answers in pairs, turn on the judge in a new evaluation, or vote on these models in the Playground.</source>
            <translation>Um Antworten paarweise zu vergleichen, schalten Sie in einer neuen Auswertung den Richter ein, oder stimmen Sie im Playground über diese Modelle ab.</translation>
        </message>
        <message>
            <source>To get a verdict, evaluate at least two models.</source>
            <translation>Für ein Urteil werten Sie mindestens zwei Modelle aus.</translation>
        </message>
        <message>
            <source>To get the same prompts as in training, set `think` to false in requests to Ollama, or start llama-server with `--reasoning off`.</source>
            <translation>Damit die Prompts denen des Trainings gleichen, setzen Sie `think` in Anfragen an Ollama auf false, oder starten Sie llama-server mit `--reasoning off`.</translation>
        </message>
        <message>
            <source>To get the same prompts as in training, start llama-server with `--no-reasoning-preserve`, or don't send the reasoning of earlier answers.</source>
            <translation>Damit die Prompts denen des Trainings gleichen, starten Sie llama-server mit `--no-reasoning-preserve`, oder senden Sie die Überlegungen früherer Antworten nicht mit.</translation>
        </message>
        <message>
            <source>To learn from a teacher, train on conversations or plain text.</source>
            <translation>Um von einem Lehrer zu lernen, trainieren Sie mit Gesprächen oder einfachem Text.</translation>
        </message>
        <message>
            <source>To learn from good and bad answers (KTO), choose the format “{kto}”. Answers are then good where {label}. To imitate only good ones, remove the rows with bad ones.</source>
            <translation>Um aus guten und schlechten Antworten zu lernen (KTO), wählen Sie das Format „{kto}“. Dann gelten Antworten als gut, für die {label} gilt. Um nur gute nachzuahmen, entfernen Sie die Zeilen mit schlechten.</translation>
        </message>
        <message>
            <source>To learn from the judged answers only, good and bad, choose the format “{kto}”. To imitate only good ones, remove the rows with bad ones.</source>
            <translation>Um nur aus den bewerteten Antworten zu lernen, guten wie schlechten, wählen Sie das Format „{kto}“. Um nur gute nachzuahmen, entfernen Sie die Zeilen mit schlechten.</translation>
        </message>
        <message>
            <source>To name them, put the config.json of the classifier, with id2label, beside the adapter, and import it again.</source>
            <translation>Legen Sie die config.json des Klassifikators mit id2label neben den Adapter und importieren Sie ihn erneut, um sie zu benennen.</translation>
        </message>
        <message>
            <source>To read one of them instead, choose it as the split.</source>
            <translation>Um stattdessen eine davon zu lesen, wählen Sie sie als Split.</translation>
        </message>
        <message>
            <source>To see row lengths, choose a model and a dataset.</source>
            <translation>Wählen Sie ein Modell und einen Datensatz, um die Zeilenlängen zu sehen.</translation>
        </message>
        <message>
            <source>To see their curves, select runs in the table.</source>
            <translation>Wählen Sie Läufe in der Tabelle aus, um ihre Kurven zu sehen.</translation>
        </message>
        <message>
            <source>To see what was forgotten, include the test set “Forgetting”.</source>
            <translation>Um zu sehen, was vergessen wurde, nehmen Sie den Testsatz „Vergessen“ hinzu.</translation>
        </message>
        <message>
            <source>To train every answer, make each a row of its own, or remove the system message.</source>
            <translation>Um jede Antwort zu trainieren, machen Sie aus jeder eine eigene Zeile oder entfernen Sie die Systemnachricht.</translation>
        </message>
        <message>
            <source>To train on all of them, write one row for each answer.</source>
            <translation>Um mit allen zu trainieren, schreiben Sie für jede Antwort eine Zeile.</translation>
        </message>
        <message>
            <source>To train on all reasoning, make each answer a row of its own.</source>
            <translation>Um alle Überlegungen zu trainieren, machen Sie aus jeder Antwort eine eigene Zeile.</translation>
        </message>
        <message>
            <source>To train on one of them alone, map its column to “label”.</source>
            <translation>Um nur eines davon zu trainieren, ordnen Sie dessen Spalte „label“ zu.</translation>
        </message>
        <message>
            <source>To train on several GPUs, select them on the Model page.</source>
            <translation>Um auf mehreren GPUs zu trainieren, wählen Sie sie auf der Seite „Modell“ aus.</translation>
        </message>
        <message>
            <source>To train the answers of another person, map “speaker” to that name.</source>
            <translation>Um die Antworten einer anderen Person zu trainieren, ordnen Sie „speaker“ deren Namen zu.</translation>
        </message>
        <message>
            <source>To translate into the other language, swap them. To say what to do, map “question” to a template that begins with an instruction.</source>
            <translation>Um in die andere Sprache zu übersetzen, vertauschen Sie die beiden. Um die Aufgabe zu nennen, ordnen Sie „question“ eine Vorlage zu, die mit einer Anweisung beginnt.</translation>
        </message>
        <message>
            <source>Token F1</source>
            <translation>Token-F1</translation>
        </message>
        <message>
            <source>Token {index} of {tokens}</source>
            <translation>Token {index} von {tokens}</translation>
        </message>
        <message>
            <source>Tokenizing the prompt</source>
            <translation>Prompt wird in Tokens zerlegt</translation>
        </message>
        <message>
            <source>Tokenizing…</source>
            <translation>Wird tokenisiert…</translation>
        </message>
        <message>
            <source>Tokens</source>
            <translation>Tokens</translation>
        </message>
        <message>
            <source>Tokens per epoch</source>
            <translation>Tokens je Epoche</translation>
        </message>
        <message>
            <source>Tokens per second</source>
            <translation>Tokens je Sekunde</translation>
        </message>
        <message>
            <source>Tokens/s</source>
            <translation>Tokens/s</translation>
        </message>
        <message>
            <source>Tolerance</source>
            <translation>Toleranz</translation>
        </message>
        <message>
            <source>Tolerance unit</source>
            <translation>Einheit der Toleranz</translation>
        </message>
        <message>
            <source>Tone, style, and format</source>
            <translation>Ton, Stil und Format</translation>
        </message>
        <message>
            <source>Too few answers to tell what was forgotten.</source>
            <translation>Zu wenige Antworten, um zu sagen, was vergessen wurde.</translation>
        </message>
        <message>
            <source>Tool</source>
            <translation>Tool</translation>
        </message>
        <message>
            <source>Tool call: {name}({arguments})</source>
            <translation>Tool-Aufruf: {name}({arguments})</translation>
        </message>
        <message>
            <source>Top-1 agreement with base model + adapter: {top1} of {tokens} in {conversations}.</source>
            <translation>Top-1-Übereinstimmung mit Basismodell + Adapter: {top1} von {tokens} in {conversations}.</translation>
        </message>
        <message>
            <source>Top-k</source>
            <translation>Top-k</translation>
        </message>
        <message>
            <source>Top-p</source>
            <translation>Top-p</translation>
        </message>
        <message>
            <source>Topics</source>
            <translation>Themen</translation>
        </message>
        <message>
            <source>Total</source>
            <translation>Summe</translation>
        </message>
        <message>
            <source>Train</source>
            <translation>Training</translation>
        </message>
        <message>
            <source>Train again</source>
            <translation>Neu trainieren</translation>
        </message>
        <message>
            <source>Train an adapter first.</source>
            <translation>Trainieren Sie zuerst einen Adapter.</translation>
        </message>
        <message>
            <source>Train an adapter first. Then find out here whether it answers better than the base model, and whether it has forgotten anything.</source>
            <translation>Trainieren Sie zuerst einen Adapter. Dann erfahren Sie hier, ob er besser antwortet als das Basismodell und ob er etwas vergessen hat.</translation>
        </message>
        <message>
            <source>Train first, or choose a folder with an adapter_config.json.</source>
            <translation>Trainieren Sie zuerst oder wählen Sie einen Ordner mit einer adapter_config.json.</translation>
        </message>
        <message>
            <source>Train first, or import an adapter or a model.</source>
            <translation>Trainieren Sie zuerst oder importieren Sie einen Adapter oder ein Modell.</translation>
        </message>
        <message>
            <source>Train first.</source>
            <translation>Trainieren Sie zuerst.</translation>
        </message>
        <message>
            <source>Train for 1 epoch</source>
            <translation>1 Epoche trainieren</translation>
        </message>
        <message>
            <source>Train for fewer steps, raise the dropout, lower the rank, or add rows.</source>
            <translation>Trainieren Sie weniger Schritte, erhöhen Sie den Dropout, senken Sie den Rang oder ergänzen Sie Zeilen.</translation>
        </message>
        <message>
            <source>Train for {epochs} epochs</source>
            <translation>{epochs} Epochen trainieren</translation>
        </message>
        <message numerus="yes">
            <source>Train for {n} steps</source>
            <translation>
                <numerusform>1 Schritt trainieren</numerusform>
                <numerusform>{n} Schritte trainieren</numerusform>
            </translation>
        </message>
        <message>
            <source>Train longer to improve it further, or continue with this adapter.</source>
            <translation>Trainieren Sie länger, um das Ergebnis weiter zu verbessern, oder machen Sie mit diesem Adapter weiter.</translation>
        </message>
        <message>
            <source>Train longer, or compare the model with the base model on Evaluate.</source>
            <translation>Trainieren Sie länger, oder vergleichen Sie das Modell unter Auswerten mit dem Basismodell.</translation>
        </message>
        <message>
            <source>Train longer, or try the adapter in the playground.</source>
            <translation>Trainieren Sie länger oder testen Sie den Adapter im Playground.</translation>
        </message>
        <message>
            <source>Train on</source>
            <translation>Trainieren auf</translation>
        </message>
        <message>
            <source>Train on it</source>
            <translation>Darauf trainieren</translation>
        </message>
        <message>
            <source>Train on one kind of data at a time, or choose another format for one of them.</source>
            <translation>Trainieren Sie jeweils nur mit einer Art von Daten oder wählen Sie für eine davon ein anderes Format.</translation>
        </message>
        <message>
            <source>Train on several GPUs (each processes part of every batch):</source>
            <translation>Auf mehreren GPUs trainieren (jede rechnet einen Teil jedes Batches):</translation>
        </message>
        <message>
            <source>Train without a teacher</source>
            <translation>Ohne Lehrer trainieren</translation>
        </message>
        <message>
            <source>Trainable</source>
            <translation>Trainierbar</translation>
        </message>
        <message>
            <source>Trained</source>
            <translation>Trainiert</translation>
        </message>
        <message>
            <source>Trained in full</source>
            <translation>Voll trainiert</translation>
        </message>
        <message>
            <source>Trained tokens</source>
            <translation>Trainierte Tokens</translation>
        </message>
        <message>
            <source>Training</source>
            <translation>Training</translation>
        </message>
        <message>
            <source>Training can't start from an adapter of type {kind}.</source>
            <translation>Das Training kann nicht mit einem Adapter vom Typ {kind} beginnen.</translation>
        </message>
        <message>
            <source>Training can't start from an adapter with new tokens.</source>
            <translation>Das Training kann nicht von einem Adapter mit neuen Token ausgehen.</translation>
        </message>
        <message>
            <source>Training canceled</source>
            <translation>Training abgebrochen</translation>
        </message>
        <message>
            <source>Training continues without it, with the same result. It needs a C++ compiler, and Triton on a GPU.</source>
            <translation>Das Training läuft ohne weiter, mit demselben Ergebnis. Nötig sind ein C++-Compiler und auf einer GPU Triton.</translation>
        </message>
        <message>
            <source>Training continues without them. A model in float16 may need bfloat16.</source>
            <translation>Das Training läuft ohne sie weiter. Ein Modell in float16 braucht möglicherweise bfloat16.</translation>
        </message>
        <message>
            <source>Training continues without them. Fewer prompts or tokens need less memory.</source>
            <translation>Das Training läuft ohne sie weiter. Weniger Prompts oder Tokens brauchen weniger Speicher.</translation>
        </message>
        <message>
            <source>Training continues, and the run folder has all metrics.</source>
            <translation>Das Training läuft weiter, und im Ordner des Laufs stehen alle Metriken.</translation>
        </message>
        <message>
            <source>Training continues. Unless a later evaluation is better, the last adapter is kept.</source>
            <translation>Das Training läuft weiter. Ist keine spätere Evaluation besser, wird der letzte Adapter behalten.</translation>
        </message>
        <message>
            <source>Training diverged, or a file of the model is damaged. Train again with a lower learning rate, or download the base model again.</source>
            <translation>Das Training ist divergiert, oder eine Datei des Modells ist beschädigt. Trainieren Sie mit einer kleineren Lernrate erneut, oder laden Sie das Basismodell noch einmal herunter.</translation>
        </message>
        <message>
            <source>Training is paused. To continue, select Resume.</source>
            <translation>Das Training ist pausiert. Mit „Fortsetzen“ geht es weiter.</translation>
        </message>
        <message>
            <source>Training is running.</source>
            <translation>Das Training läuft.</translation>
        </message>
        <message>
            <source>Training is slower without them but gives the same results.</source>
            <translation>Ohne sie ist das Training langsamer, liefert aber dieselben Ergebnisse.</translation>
        </message>
        <message>
            <source>Training is using the GPU; chat runs on the CPU.</source>
            <translation>Das Training nutzt die GPU; der Chat läuft auf der CPU.</translation>
        </message>
        <message>
            <source>Training leaves such completions out. Correct the reward if that isn't intended.</source>
            <translation>Das Training lässt solche Antworten aus. Korrigieren Sie die Belohnung, wenn das nicht beabsichtigt ist.</translation>
        </message>
        <message>
            <source>Training loss at the last step: nats per trained token, or as its objective defines it</source>
            <translation>Trainings-Loss im letzten Schritt: Nats je trainiertem Token, oder wie das Trainingsziel ihn definiert</translation>
        </message>
        <message>
            <source>Training loss fell {first:loss} → {last:loss} and leveled off.</source>
            <translation>Der Trainings-Loss fiel {first:loss} → {last:loss} und flachte dann ab.</translation>
        </message>
        <message>
            <source>Training loss fell {first:loss} → {last:loss} and was still falling.</source>
            <translation>Der Trainings-Loss fiel {first:loss} → {last:loss} und fiel zuletzt noch immer.</translation>
        </message>
        <message>
            <source>Training loss fell {first:loss} → {last:loss}.</source>
            <translation>Der Trainings-Loss fiel {first:loss} → {last:loss}.</translation>
        </message>
        <message>
            <source>Training loss hardly changed ({first:loss} → {last:loss}).</source>
            <translation>Der Trainings-Loss hat sich kaum verändert ({first:loss} → {last:loss}).</translation>
        </message>
        <message>
            <source>Training method</source>
            <translation>Trainingsmethode</translation>
        </message>
        <message>
            <source>Training needs about {needed:memory}, but {device} has only {available:memory} free.</source>
            <translation>Das Training braucht etwa {needed:memory}, aber {device} hat nur {available:memory} frei.</translation>
        </message>
        <message>
            <source>Training needs at least {needed} of memory in {bits}; {free} is free.</source>
            <translation>Das Training braucht in {bits} mindestens {needed} Speicher; frei sind {free}.</translation>
        </message>
        <message>
            <source>Training needs {needed} of memory in {bits}; {free} is free.</source>
            <translation>Das Training braucht in {bits} {needed} Speicher; frei sind {free}.</translation>
        </message>
        <message>
            <source>Training needs {needed} of memory, but only {free} is free.</source>
            <translation>Das Training braucht {needed} Speicher, frei sind nur {free}.</translation>
        </message>
        <message>
            <source>Training needs {needed} of memory; {free} is free.</source>
            <translation>Das Training braucht {needed} Speicher; frei sind {free}.</translation>
        </message>
        <message>
            <source>Training of {project} was interrupted at step {step} of {steps}.</source>
            <translation>Das Training von {project} wurde bei Schritt {step} von {steps} unterbrochen.</translation>
        </message>
        <message>
            <source>Training on several devices</source>
            <translation>Training auf mehreren Geräten</translation>
        </message>
        <message>
            <source>Training options</source>
            <translation>Trainingsoptionen</translation>
        </message>
        <message>
            <source>Training paused</source>
            <translation>Training pausiert</translation>
        </message>
        <message>
            <source>Training restarts from the beginning with a lower memory setting (attempt {attempt} of {attempts}).</source>
            <translation>Das Training startet mit geringerem Speicherbedarf von vorn (Versuch {attempt} von {attempts}).</translation>
        </message>
        <message>
            <source>Training restarts from the checkpoint at step {step} with a lower memory setting (attempt {attempt} of {attempts}).</source>
            <translation>Das Training startet ab dem Checkpoint bei Schritt {step} mit geringerem Speicherbedarf neu (Versuch {attempt} von {attempts}).</translation>
        </message>
        <message>
            <source>Training resumes from the checkpoint before it.</source>
            <translation>Das Training geht ab dem Checkpoint davor weiter.</translation>
        </message>
        <message>
            <source>Training settings</source>
            <translation>Trainingseinstellungen</translation>
        </message>
        <message>
            <source>Training started</source>
            <translation>Training gestartet</translation>
        </message>
        <message>
            <source>Training started with FlashAttention, which isn't available now. It continues without it, with different rounding.</source>
            <translation>Das Training hat mit FlashAttention begonnen, das jetzt nicht verfügbar ist. Es läuft ohne weiter, mit anderer Rundung.</translation>
        </message>
        <message>
            <source>Training started with Liger kernels, which aren't available now. It continues without them, with different rounding.</source>
            <translation>Das Training hat mit Liger-Kerneln begonnen, die jetzt nicht verfügbar sind. Es läuft ohne sie weiter, mit anderer Rundung.</translation>
        </message>
        <message>
            <source>Training started with TF32, which isn't available now. It continues without it, with different rounding.</source>
            <translation>Das Training hat mit TF32 begonnen, das jetzt nicht verfügbar ist. Es läuft ohne TF32 weiter und rundet anders.</translation>
        </message>
        <message>
            <source>Training started with a faster way of writing answers, which isn't possible now. It continues without it, with different rounding.</source>
            <translation>Das Training hat mit einem schnelleren Verfahren zum Schreiben von Antworten begonnen, das jetzt nicht möglich ist. Es läuft ohne dieses weiter, mit anderer Rundung.</translation>
        </message>
        <message>
            <source>Training started with logits that are computed in chunks, which isn't possible now. It continues with all logits at once, which takes more memory, and with different rounding.</source>
            <translation>Das Training begann mit Logits, die in Teilen berechnet werden, was jetzt nicht möglich ist. Es geht mit allen Logits auf einmal weiter, was mehr Speicher braucht, und rundet anders.</translation>
        </message>
        <message>
            <source>Training started with packed rows, which isn't possible now. It continues with padded rows, with different rounding.</source>
            <translation>Das Training hat mit gepackten Zeilen begonnen, was jetzt nicht möglich ist. Es läuft mit aufgefüllten Zeilen weiter, mit anderer Rundung.</translation>
        </message>
        <message>
            <source>Training started with prompts that are computed once for several answers, which isn't possible now. It continues without that, with different rounding.</source>
            <translation>Das Training begann mit Prompts, die für mehrere Antworten nur einmal berechnet werden. Das ist jetzt nicht möglich. Es wird ohne dies fortgesetzt, mit anderer Rundung.</translation>
        </message>
        <message>
            <source>Training stopped</source>
            <translation>Training gestoppt</translation>
        </message>
        <message>
            <source>Training stopped. The adapter was saved.</source>
            <translation>Training gestoppt. Der Adapter wurde gespeichert.</translation>
        </message>
        <message>
            <source>Training time, excluding pauses</source>
            <translation>Trainingsdauer ohne Pausen</translation>
        </message>
        <message>
            <source>Training took {time}.</source>
            <translation>Das Training dauerte {time}.</translation>
        </message>
        <message>
            <source>Training uses PEFT. Only runs that select the Unsloth backend need it.</source>
            <translation>Trainiert wird mit PEFT. Nur Läufe mit dem Backend „Unsloth“ brauchen es.</translation>
        </message>
        <message>
            <source>Training {steps:d} steps, starting at step {step:d}.</source>
            <translation>{steps:d} Schritte werden trainiert, beginnend bei Schritt {step:d}.</translation>
        </message>
        <message>
            <source>Trains a model that scores responses instead of writing them (Ouyang et al. 2022).</source>
            <translation>Trainiert ein Modell, das Antworten bewertet, statt sie zu schreiben (Ouyang et al. 2022).</translation>
        </message>
        <message>
            <source>Triton needs Python's header files to build GPU kernels, but they aren't installed.</source>
            <translation>Triton braucht die Header-Dateien von Python, um GPU-Kernel zu bauen, aber sie sind nicht installiert.</translation>
        </message>
        <message>
            <source>Triton needs a C compiler to build GPU kernels, but none is installed.</source>
            <translation>Triton braucht einen C-Compiler, um GPU-Kernel zu bauen, aber keiner ist installiert.</translation>
        </message>
        <message>
            <source>Triton, which Unsloth needs, has no code for this GPU.</source>
            <translation>Triton, das Unsloth braucht, hat keinen Code für diese GPU.</translation>
        </message>
        <message>
            <source>Truncate</source>
            <translation>Abschneiden</translation>
        </message>
        <message>
            <source>Truncated answers</source>
            <translation>Abgeschnittene Antworten</translation>
        </message>
        <message>
            <source>Truncated completions</source>
            <translation>Abgeschnittene Antworten</translation>
        </message>
        <message>
            <source>Trust remote code</source>
            <translation>Remote-Code vertrauen</translation>
        </message>
        <message>
            <source>Trusted code</source>
            <translation>Erlaubter Code</translation>
        </message>
        <message>
            <source>Try a prompt from your training data to see what the model learned, then an unrelated one to check that it kept its other skills.</source>
            <translation>Probieren Sie einen Prompt aus Ihren Trainingsdaten, um zu sehen, was das Modell gelernt hat, und dann einen anderen, um zu prüfen, ob es sonst nichts verlernt hat.</translation>
        </message>
        <message>
            <source>Try again</source>
            <translation>Noch einmal versuchen</translation>
        </message>
        <message>
            <source>Try again later. Downloaded data is kept.</source>
            <translation>Versuchen Sie es später noch einmal. Bereits geladene Daten bleiben erhalten.</translation>
        </message>
        <message>
            <source>Try again later. If you set HF_ENDPOINT or a proxy, check the address.</source>
            <translation>Versuchen Sie es später noch einmal. Wenn Sie HF_ENDPOINT oder einen Proxy eingestellt haben, prüfen Sie die Adresse.</translation>
        </message>
        <message>
            <source>Try again later. Uploaded data is not sent twice.</source>
            <translation>Versuchen Sie es später noch einmal. Bereits Hochgeladenes wird nicht erneut gesendet.</translation>
        </message>
        <message>
            <source>Try again, or choose another model.</source>
            <translation>Versuchen Sie es erneut oder wählen Sie ein anderes Modell.</translation>
        </message>
        <message>
            <source>Try again.</source>
            <translation>Versuchen Sie es noch einmal.</translation>
        </message>
        <message>
            <source>Try another Python version from 3.11 to 3.13, or other index settings. Full details are in the log.</source>
            <translation>Versuchen Sie eine andere Python-Version von 3.11 bis 3.13 oder andere Index-Einstellungen. Alle Einzelheiten stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Try another Python version from 3.11 to 3.13.</source>
            <translation>Versuchen Sie eine andere Python-Version von 3.11 bis 3.13.</translation>
        </message>
        <message>
            <source>Try it</source>
            <translation>Ausprobieren</translation>
        </message>
        <message>
            <source>Try the suggestion above first. The log has more details, and a diagnostics file (Help menu) contains what others need to help you.</source>
            <translation>Versuchen Sie zuerst den Vorschlag oben. Mehr Einzelheiten stehen im Protokoll, und eine Diagnosedatei (Menü Hilfe) enthält, was andere brauchen, um Ihnen zu helfen.</translation>
        </message>
        <message>
            <source>Trying the rewards</source>
            <translation>Belohnungen werden ausprobiert</translation>
        </message>
        <message>
            <source>Turkish</source>
            <translation>Türkisch</translation>
        </message>
        <message>
            <source>Turn DoRA off</source>
            <translation>DoRA ausschalten</translation>
        </message>
        <message>
            <source>Turn off offline mode</source>
            <translation>Offline-Modus ausschalten</translation>
        </message>
        <message>
            <source>Turn offline mode off in the settings (or remove --offline and HF_HUB_OFFLINE), or use local files.</source>
            <translation>Schalten Sie den Offline-Modus in den Einstellungen aus (oder entfernen Sie --offline und HF_HUB_OFFLINE) oder verwenden Sie lokale Dateien.</translation>
        </message>
        <message>
            <source>Turn on the importance matrix, or choose another quantization.</source>
            <translation>Schalten Sie die Importance-Matrix ein oder wählen Sie eine andere Quantisierung.</translation>
        </message>
        <message>
            <source>Turn {tracker} off</source>
            <translation>{tracker} ausschalten</translation>
        </message>
        <message>
            <source>Turns after the last answer are ignored: they have no answer to learn.</source>
            <translation>Beiträge nach der letzten Antwort werden ignoriert: Zu ihnen gibt es keine Antwort zu lernen.</translation>
        </message>
        <message>
            <source>Turns out of order</source>
            <translation>Beiträge in falscher Reihenfolge</translation>
        </message>
        <message>
            <source>Two of the adapters trained {tensor} in full, and a model can have only one.</source>
            <translation>Zwei der Adapter haben {tensor} vollständig trainiert, und ein Modell kann nur einen davon haben.</translation>
        </message>
        <message>
            <source>Two rewards have the name {name}.</source>
            <translation>Zwei Belohnungen heißen {name}.</translation>
        </message>
        <message>
            <source>Type</source>
            <translation>Typ</translation>
        </message>
        <message>
            <source>Ukrainian</source>
            <translation>Ukrainisch</translation>
        </message>
        <message>
            <source>Unbalanced labels</source>
            <translation>Ungleiche Bewertungen</translation>
        </message>
        <message>
            <source>Undo</source>
            <translation>Rückgängig</translation>
        </message>
        <message>
            <source>Undo fix</source>
            <translation>Zurücknehmen</translation>
        </message>
        <message>
            <source>Undo fix: {title}</source>
            <translation>Zurücknehmen: {title}</translation>
        </message>
        <message>
            <source>Unfinished</source>
            <translation>Nicht abgeschlossen</translation>
        </message>
        <message>
            <source>Unit of the evaluation and checkpoint intervals.</source>
            <translation>Einheit der Intervalle für Evaluationen und Checkpoints.</translation>
        </message>
        <message>
            <source>Unknown</source>
            <translation>Unbekannt</translation>
        </message>
        <message>
            <source>Unknown benchmark: {task}.</source>
            <translation>Unbekannter Benchmark: {task}.</translation>
        </message>
        <message>
            <source>Unknown metric: {name}.</source>
            <translation>Unbekannte Metrik: {name}.</translation>
        </message>
        <message>
            <source>Unpack it and choose the folder.</source>
            <translation>Entpacken Sie es und wählen Sie den Ordner.</translation>
        </message>
        <message>
            <source>Unpack it once and choose the result.</source>
            <translation>Entpacken Sie die Datei einmal und wählen Sie das Ergebnis.</translation>
        </message>
        <message>
            <source>Unpacked for training</source>
            <translation>Für das Training entpackt</translation>
        </message>
        <message>
            <source>Unreadable</source>
            <translation>Nicht lesbar</translation>
        </message>
        <message>
            <source>Unsloth</source>
            <translation>Unsloth</translation>
        </message>
        <message>
            <source>Unsloth can only train embed_tokens, lm_head, and norms in full.</source>
            <translation>Unsloth kann nur embed_tokens, lm_head und Norms vollständig trainieren.</translation>
        </message>
        <message>
            <source>Unsloth can't adapt the experts of this model.</source>
            <translation>Unsloth kann die Experten dieses Modells nicht anpassen.</translation>
        </message>
        <message>
            <source>Unsloth can't be used here: {error}.</source>
            <translation>Unsloth ist hier nicht nutzbar: {error}.</translation>
        </message>
        <message>
            <source>Unsloth can't learn from a teacher.</source>
            <translation>Unsloth kann nicht von einem Lehrer lernen.</translation>
        </message>
        <message>
            <source>Unsloth can't load this model: {reason}.</source>
            <translation>Unsloth kann dieses Modell nicht laden: {reason}.</translation>
        </message>
        <message>
            <source>Unsloth can't start from an existing adapter.</source>
            <translation>Unsloth kann nicht mit einem vorhandenen Adapter beginnen.</translation>
        </message>
        <message>
            <source>Unsloth can't train MiSS adapters.</source>
            <translation>Unsloth kann keine MiSS-Adapter trainieren.</translation>
        </message>
        <message>
            <source>Unsloth can't train biases.</source>
            <translation>Unsloth kann keine Biases trainieren.</translation>
        </message>
        <message>
            <source>Unsloth can't train on Apple GPUs.</source>
            <translation>Unsloth kann nicht auf Apple-GPUs trainieren.</translation>
        </message>
        <message>
            <source>Unsloth can't train the rows of new tokens alone.</source>
            <translation>Unsloth kann die Zeilen neuer Token nicht einzeln trainieren.</translation>
        </message>
        <message>
            <source>Unsloth doesn't support initialization from weights or data.</source>
            <translation>Unsloth unterstützt keine Initialisierung aus Gewichten oder Daten.</translation>
        </message>
        <message>
            <source>Unsloth doesn't support models with remote code.</source>
            <translation>Unsloth unterstützt keine Modelle mit Remote-Code.</translation>
        </message>
        <message>
            <source>Unsloth isn't installed because it isn't compatible with the other packages ({reason}).</source>
            <translation>Unsloth wird nicht installiert, weil es nicht zu den anderen Paketen passt ({reason}).</translation>
        </message>
        <message>
            <source>Unsloth isn't installed.</source>
            <translation>Unsloth ist nicht installiert.</translation>
        </message>
        <message>
            <source>Unsloth supports 4-bit and 16-bit precision, not 8-bit.</source>
            <translation>Unsloth unterstützt 4-Bit- und 16-Bit-Genauigkeit, nicht 8-Bit.</translation>
        </message>
        <message>
            <source>Unsloth trains on one device only.</source>
            <translation>Unsloth trainiert nur auf einem Gerät.</translation>
        </message>
        <message>
            <source>Unsloth would also adapt {names}.</source>
            <translation>Unsloth würde auch {names} anpassen.</translation>
        </message>
        <message>
            <source>Unsloth's 4-bit weights always use NF4.</source>
            <translation>Die 4-Bit-Gewichte von Unsloth verwenden immer NF4.</translation>
        </message>
        <message>
            <source>Unsloth's 4-bit weights always use double quantization.</source>
            <translation>Die 4-Bit-Gewichte von Unsloth sind immer doppelt quantisiert.</translation>
        </message>
        <message>
            <source>Unsloth's gradient checkpointing needs the Unsloth backend.</source>
            <translation>Das Gradient Checkpointing von Unsloth braucht das Unsloth-Backend.</translation>
        </message>
        <message>
            <source>Unsloth's kernels can't be built on this computer.</source>
            <translation>Die Kernel von Unsloth lassen sich auf diesem Computer nicht bauen.</translation>
        </message>
        <message>
            <source>Up to 1 B</source>
            <translation>Bis 1 B</translation>
        </message>
        <message>
            <source>Up to 50 % less memory, very little quality loss</source>
            <translation>Bis zu 50 % weniger Speicher, kaum Qualitätsverlust</translation>
        </message>
        <message>
            <source>Up to 75 % less memory, small quality loss (QLoRA)</source>
            <translation>Bis zu 75 % weniger Speicher, geringer Qualitätsverlust (QLoRA)</translation>
        </message>
        <message>
            <source>Update</source>
            <translation>Aktualisieren</translation>
        </message>
        <message>
            <source>Update LoRA Studio, or save the project under another name.</source>
            <translation>Aktualisieren Sie LoRA Studio oder speichern Sie das Projekt unter anderem Namen.</translation>
        </message>
        <message>
            <source>Update Ollama and export again.</source>
            <translation>Aktualisieren Sie Ollama und exportieren Sie erneut.</translation>
        </message>
        <message>
            <source>Update Ollama, or use the model without tools. Nothing else is affected.</source>
            <translation>Aktualisieren Sie Ollama, oder verwenden Sie das Modell ohne Tools. Nichts anderes ist betroffen.</translation>
        </message>
        <message>
            <source>Update Ollama.</source>
            <translation>Aktualisieren Sie Ollama.</translation>
        </message>
        <message>
            <source>Update Ollama: 0.30 and later use the chat template in the GGUF file. `lora-studio template derive` shows details.</source>
            <translation>Aktualisieren Sie Ollama: Ab 0.30 verwendet es die Chat-Vorlage in der GGUF-Datei. `lora-studio template derive` zeigt Einzelheiten.</translation>
        </message>
        <message>
            <source>Update Ollama: {needed} and later support it.</source>
            <translation>Aktualisieren Sie Ollama: Ab {needed} wird die Architektur unterstützt.</translation>
        </message>
        <message>
            <source>Update llama.cpp, or remove llama-server from PATH. The export doesn't depend on it.</source>
            <translation>Aktualisieren Sie llama.cpp oder entfernen Sie llama-server aus PATH. Der Export hängt nicht davon ab.</translation>
        </message>
        <message>
            <source>Update strength by layer</source>
            <translation>Stärke der Änderung je Schicht</translation>
        </message>
        <message>
            <source>Update the GPU driver, or set up an engine in Settings: it gets the build of PyTorch for your driver.</source>
            <translation>Aktualisieren Sie den GPU-Treiber oder richten Sie in den Einstellungen eine Engine ein: Sie bekommt die PyTorch-Version für Ihren Treiber.</translation>
        </message>
        <message>
            <source>Update the engine</source>
            <translation>Engine aktualisieren</translation>
        </message>
        <message>
            <source>Update the engine in Settings, or run `lora-studio engine update`. Only changes are downloaded.</source>
            <translation>Aktualisieren Sie die Engine in den Einstellungen oder mit `lora-studio engine update`. Nur Änderungen werden heruntergeladen.</translation>
        </message>
        <message>
            <source>Update the program to a release that supports it.</source>
            <translation>Aktualisieren Sie das Programm auf eine Version, die sie unterstützt.</translation>
        </message>
        <message>
            <source>Update transformers, or choose a model with a supported architecture.</source>
            <translation>Aktualisieren Sie transformers oder wählen Sie ein Modell mit unterstützter Architektur.</translation>
        </message>
        <message>
            <source>Updated tensors</source>
            <translation>Geänderte Tensoren</translation>
        </message>
        <message>
            <source>Updates per completion</source>
            <translation>Updates pro Antwort</translation>
        </message>
        <message>
            <source>Updates the engine to this version of LoRA Studio. Only changed packages are downloaded. You can roll back afterwards.</source>
            <translation>Aktualisiert die Engine auf diese Version von LoRA Studio. Nur geänderte Pakete werden heruntergeladen. Sie können das Update danach zurücknehmen.</translation>
        </message>
        <message>
            <source>Update…</source>
            <translation>Aktualisieren…</translation>
        </message>
        <message>
            <source>Upload</source>
            <translation>Hochladen</translation>
        </message>
        <message>
            <source>Upload to the Hub</source>
            <translation>Upload zum Hub</translation>
        </message>
        <message>
            <source>Upload to the Hugging Face Hub</source>
            <translation>Auf den Hugging Face Hub hochladen</translation>
        </message>
        <message>
            <source>Uploading</source>
            <translation>Hochladen</translation>
        </message>
        <message>
            <source>Uploading to the Hub…</source>
            <translation>Wird auf den Hub hochgeladen…</translation>
        </message>
        <message>
            <source>Upload…</source>
            <translation>Hochladen…</translation>
        </message>
        <message>
            <source>Urdu</source>
            <translation>Urdu</translation>
        </message>
        <message>
            <source>Use</source>
            <translation>Verwendung</translation>
        </message>
        <message>
            <source>Use 16-bit precision, or replicate the weights.</source>
            <translation>Verwenden Sie 16-Bit-Genauigkeit oder replizieren Sie die Gewichte.</translation>
        </message>
        <message>
            <source>Use 16-bit precision, or the default initialization.</source>
            <translation>Verwenden Sie 16-Bit-Genauigkeit oder die Standardinitialisierung.</translation>
        </message>
        <message>
            <source>Use 4-bit or 16-bit precision, or turn DoRA off.</source>
            <translation>Verwenden Sie 4-Bit- oder 16-Bit-Genauigkeit oder schalten Sie DoRA aus.</translation>
        </message>
        <message>
            <source>Use 4-bit precision, or the default initialization.</source>
            <translation>Verwenden Sie 4-Bit-Genauigkeit oder die Standardinitialisierung.</translation>
        </message>
        <message>
            <source>Use 4-bit weights, or choose a smaller model. Closing other programs that use the GPUs helps too.</source>
            <translation>Nutze 4-Bit-Gewichte, oder wähle ein kleineres Modell. Auch andere Programme zu schließen, die die GPUs nutzen, hilft.</translation>
        </message>
        <message>
            <source>Use 4-bit weights: they take a quarter of the memory of 16-bit ones. Closing other programs that use the device helps too.</source>
            <translation>Nutzen Sie 4-Bit-Gewichte: Sie brauchen ein Viertel des Speichers von 16-Bit-Gewichten. Auch andere Programme zu schließen, die das Gerät nutzen, hilft.</translation>
        </message>
        <message>
            <source>Use 5 % of the rows for validation</source>
            <translation>5 % der Zeilen zur Validierung verwenden</translation>
        </message>
        <message>
            <source>Use AdamW</source>
            <translation>AdamW verwenden</translation>
        </message>
        <message>
            <source>Use a decimal point: {value}.</source>
            <translation>Verwenden Sie einen Dezimalpunkt: {value}.</translation>
        </message>
        <message>
            <source>Use a wheel folder…</source>
            <translation>Wheel-Ordner verwenden…</translation>
        </message>
        <message>
            <source>Use all linear layers</source>
            <translation>Alle linearen Schichten verwenden</translation>
        </message>
        <message>
            <source>Use an existing Python…</source>
            <translation>Vorhandenes Python verwenden…</translation>
        </message>
        <message>
            <source>Use another name</source>
            <translation>Anderen Namen verwenden</translation>
        </message>
        <message>
            <source>Use as text only</source>
            <translation>Nur den Text verwenden</translation>
        </message>
        <message>
            <source>Use even ranks, or the default initialization.</source>
            <translation>Verwenden Sie gerade Ränge oder die Standardinitialisierung.</translation>
        </message>
        <message>
            <source>Use exact or exact:verbatim.</source>
            <translation>Verwenden Sie exact oder exact:verbatim.</translation>
        </message>
        <message>
            <source>Use for Merge and Export</source>
            <translation>Für Zusammenführen und Export verwenden</translation>
        </message>
        <message>
            <source>Use it as an adapter on its base model, or choose another one.</source>
            <translation>Verwenden Sie ihn als Adapter auf seinem Basismodell oder wählen Sie einen anderen.</translation>
        </message>
        <message>
            <source>Use its adapter with PEFT as a sequence classification model with one label. To train a model that answers, choose another preference method.</source>
            <translation>Verwenden Sie den Adapter mit PEFT als Modell zur Sequenzklassifikation mit einem Label. Für ein Modell, das antwortet, wählen Sie eine andere Präferenzmethode.</translation>
        </message>
        <message>
            <source>Use its adapter with PEFT, or the merged model with sentence-transformers.</source>
            <translation>Verwenden Sie seinen Adapter mit PEFT oder das zusammengeführte Modell mit sentence-transformers.</translation>
        </message>
        <message>
            <source>Use its adapter with PEFT, the merged model with sentence-transformers, or the GGUF file with Ollama or llama.cpp. To train a model that answers, choose the format “Question and answer”.</source>
            <translation>Verwenden Sie seinen Adapter mit PEFT, das zusammengeführte Modell mit sentence-transformers oder die GGUF-Datei mit Ollama oder llama.cpp. Um ein Modell zu trainieren, das antwortet, wählen Sie das Format „Frage und Antwort“.</translation>
        </message>
        <message>
            <source>Use its name alone.</source>
            <translation>Verwenden Sie nur den Namen.</translation>
        </message>
        <message>
            <source>Use largest micro-batch</source>
            <translation>Größten Mikro-Batch verwenden</translation>
        </message>
        <message>
            <source>Use largest micro-batch: {size} × {accumulation}</source>
            <translation>Größten Mikro-Batch verwenden: {size} × {accumulation}</translation>
        </message>
        <message>
            <source>Use main, or copy a commit hash from {url}.</source>
            <translation>Verwenden Sie main oder kopieren Sie einen Commit-Hash von {url}.</translation>
        </message>
        <message>
            <source>Use name or organization/name, with letters, digits, hyphens, periods, and underscores.</source>
            <translation>Verwenden Sie name oder organisation/name mit Buchstaben, Ziffern, Bindestrichen, Punkten und Unterstrichen.</translation>
        </message>
        <message>
            <source>Use rows with images, audio, or video as text only</source>
            <translation>Von Zeilen mit Bildern, Audio oder Video nur den Text verwenden</translation>
        </message>
        <message>
            <source>Use some rows of the dataset for validation, or turn this off.</source>
            <translation>Verwenden Sie einige Zeilen des Datensatzes zur Validierung oder schalten Sie dies aus.</translation>
        </message>
        <message>
            <source>Use the GGUF file of the whole model.</source>
            <translation>Verwenden Sie die GGUF-Datei des ganzen Modells.</translation>
        </message>
        <message>
            <source>Use the adapter file with llama.cpp (`{command}`). Ollama doesn't support adapter files: use the merged model's file there.</source>
            <translation>Verwenden Sie die Adapterdatei mit llama.cpp (`{command}`). Ollama unterstützt keine Adapterdateien: Nehmen Sie dort die Datei des zusammengeführten Modells.</translation>
        </message>
        <message>
            <source>Use the default ({value})</source>
            <translation>Standard verwenden ({value})</translation>
        </message>
        <message>
            <source>Use the default initialization</source>
            <translation>Standardinitialisierung verwenden</translation>
        </message>
        <message>
            <source>Use the default initialization.</source>
            <translation>Verwenden Sie die Standardinitialisierung.</translation>
        </message>
        <message>
            <source>Use the engine version that the training started with, or start a new run.</source>
            <translation>Nutzen Sie die Engine-Version, mit der das Training begonnen hat, oder starten Sie einen neuen Lauf.</translation>
        </message>
        <message>
            <source>Use the form {example}.</source>
            <translation>Verwenden Sie die Form {example}.</translation>
        </message>
        <message>
            <source>Use the server's own name in the address, or install its certificate.</source>
            <translation>Verwenden Sie in der Adresse den eigenen Namen des Servers oder installieren Sie sein Zertifikat.</translation>
        </message>
        <message>
            <source>Use these rows only if their texts make sense without what they refer to.</source>
            <translation>Verwenden Sie diese Zeilen nur, wenn ihre Texte auch ohne diese Inhalte verständlich sind.</translation>
        </message>
        <message>
            <source>Use this adapter as the first one with a weight of 1, and no other adapter with new tokens.</source>
            <translation>Verwenden Sie diesen Adapter als ersten und mit dem Gewicht 1, und keinen weiteren Adapter mit neuen Token.</translation>
        </message>
        <message>
            <source>Use {dtype}</source>
            <translation>{dtype} verwenden</translation>
        </message>
        <message>
            <source>Use {model}.</source>
            <translation>Verwenden Sie {model}.</translation>
        </message>
        <message>
            <source>Use {name} instead</source>
            <translation>Stattdessen {name} verwenden</translation>
        </message>
        <message>
            <source>Use {suggestion}</source>
            <translation>{suggestion} verwenden</translation>
        </message>
        <message>
            <source>Use {value}</source>
            <translation>{value} verwenden</translation>
        </message>
        <message>
            <source>Used</source>
            <translation>Verwendet</translation>
        </message>
        <message>
            <source>Used by projects without an address of their own. Leave empty for this computer.</source>
            <translation>Für Projekte ohne eigene Adresse. Leer lassen für diesen Computer.</translation>
        </message>
        <message>
            <source>User</source>
            <translation>Nutzer</translation>
        </message>
        <message>
            <source>Valid JSON</source>
            <translation>Gültiges JSON</translation>
        </message>
        <message>
            <source>Validation</source>
            <translation>Validierung</translation>
        </message>
        <message>
            <source>Validation file</source>
            <translation>Validierungsdatei</translation>
        </message>
        <message>
            <source>Validation rows</source>
            <translation>Validierungszeilen</translation>
        </message>
        <message>
            <source>Validation rows in training</source>
            <translation>Validierungszeilen im Training</translation>
        </message>
        <message>
            <source>Validation share</source>
            <translation>Validierungsanteil</translation>
        </message>
        <message>
            <source>Values above 65,504 don't fit into float16. Export F32 as well, or choose bfloat16 for the merged model.</source>
            <translation>Werte über 65 504 passen nicht in float16. Exportieren Sie zusätzlich F32, oder wählen Sie bfloat16 für das zusammengeführte Modell.</translation>
        </message>
        <message>
            <source>Values in {unit}, separated by spaces</source>
            <translation>Werte in {unit}, durch Leerzeichen getrennt</translation>
        </message>
        <message>
            <source>Values of {setting}</source>
            <translation>Werte von {setting}</translation>
        </message>
        <message>
            <source>Values, separated by spaces</source>
            <translation>Werte, durch Leerzeichen getrennt</translation>
        </message>
        <message>
            <source>Verified alternative</source>
            <translation>Geprüfte Alternative</translation>
        </message>
        <message>
            <source>Verified by Ollama {version} on {equal} of {compared} conversations. It builds other prompts for {kinds}.</source>
            <translation>Von Ollama {version} in {equal} von {compared} Gesprächen bestätigt. Andere Prompts erzeugt es für {kinds}.</translation>
        </message>
        <message numerus="yes">
            <source>Verified by Ollama {version} on {n} conversations: it builds the prompts that the model was trained on, from {path}.</source>
            <translation>
                <numerusform>Von Ollama {version} in {n} Gespräch bestätigt: Es erzeugt mit {path} den Prompt, mit dem das Modell trainiert wurde.</numerusform>
                <numerusform>Von Ollama {version} in {n} Gesprächen bestätigt: Es erzeugt mit {path} die Prompts, mit denen das Modell trainiert wurde.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>Verified by llama-server on {n} conversations: it builds the prompts of training.</source>
            <translation>
                <numerusform>Von llama-server in {n} Gespräch bestätigt: Es erzeugt den Prompt des Trainings.</numerusform>
                <numerusform>Von llama-server in {n} Gesprächen bestätigt: Es erzeugt die Prompts des Trainings.</numerusform>
            </translation>
        </message>
        <message>
            <source>Verified in Ollama</source>
            <translation>Geprüft in Ollama</translation>
        </message>
        <message>
            <source>Verifying the Ollama model</source>
            <translation>Ollama-Modell wird geprüft</translation>
        </message>
        <message>
            <source>Verifying the chat template</source>
            <translation>Chat-Vorlage wird geprüft</translation>
        </message>
        <message>
            <source>Version</source>
            <translation>Version</translation>
        </message>
        <message>
            <source>Versions and metrics of the latest run.</source>
            <translation>Versionen und Metriken des letzten Laufs.</translation>
        </message>
        <message>
            <source>Versions, devices, and capabilities of the engine.</source>
            <translation>Versionen, Geräte und Fähigkeiten der Engine.</translation>
        </message>
        <message>
            <source>Vietnamese</source>
            <translation>Vietnamesisch</translation>
        </message>
        <message>
            <source>Vocabulary</source>
            <translation>Vokabular</translation>
        </message>
        <message>
            <source>Vote results</source>
            <translation>Abstimmung</translation>
        </message>
        <message>
            <source>Votes</source>
            <translation>Stimmen</translation>
        </message>
        <message>
            <source>Votes by model</source>
            <translation>Stimmen je Modell</translation>
        </message>
        <message>
            <source>Wait a few minutes and try again. The limit is higher when you're signed in.</source>
            <translation>Warten Sie ein paar Minuten und versuchen Sie es noch einmal. Angemeldet ist das Limit höher.</translation>
        </message>
        <message>
            <source>Wait for the current answers or stop them before you choose another model.</source>
            <translation>Warten Sie die laufenden Antworten ab oder halten Sie sie an, bevor Sie ein anderes Modell wählen.</translation>
        </message>
        <message>
            <source>Wait until it finishes, or cancel it where you started it.</source>
            <translation>Warten Sie, bis sie endet, oder brechen Sie sie dort ab, wo Sie sie gestartet haben.</translation>
        </message>
        <message>
            <source>Wait until it finishes, or choose another folder.</source>
            <translation>Warten Sie, bis er fertig ist, oder wählen Sie einen anderen Ordner.</translation>
        </message>
        <message>
            <source>Wait until it finishes, or stop it.</source>
            <translation>Warten Sie, bis er fertig ist, oder stoppen Sie ihn.</translation>
        </message>
        <message>
            <source>Wait until it finishes, or watch the run.</source>
            <translation>Warten Sie, bis er fertig ist, oder sehen Sie dem Lauf zu.</translation>
        </message>
        <message>
            <source>Wait until the job ends or stop it, then delete the run.</source>
            <translation>Warten Sie, bis der Auftrag endet, oder stoppen Sie ihn. Löschen Sie den Lauf danach.</translation>
        </message>
        <message>
            <source>Wait until the job finishes, or close other windows, then try again.</source>
            <translation>Warten Sie, bis der Auftrag endet, oder schließen Sie andere Fenster und versuchen Sie es dann erneut.</translation>
        </message>
        <message>
            <source>Wait until the job finishes, then try the rewards again.</source>
            <translation>Warten Sie, bis der Auftrag fertig ist, und probieren Sie die Belohnungen dann noch einmal aus.</translation>
        </message>
        <message>
            <source>Wait until the running job finishes, then change the language.</source>
            <translation>Warten Sie, bis der laufende Auftrag beendet ist, und ändern Sie dann die Sprache.</translation>
        </message>
        <message>
            <source>Wait until the running job finishes.</source>
            <translation>Warten Sie, bis der laufende Auftrag fertig ist.</translation>
        </message>
        <message>
            <source>Waiting for the device check to see which models fit.</source>
            <translation>Sobald das Gerät erkannt ist, steht hier, welche Modelle passen.</translation>
        </message>
        <message>
            <source>Waiting…</source>
            <translation>Wartet…</translation>
        </message>
        <message>
            <source>Warm up over 10 % of the steps</source>
            <translation>Warmup über 10 % der Schritte</translation>
        </message>
        <message>
            <source>Warmup ratio</source>
            <translation>Warmup-Anteil</translation>
        </message>
        <message>
            <source>Warmup steps</source>
            <translation>Warmup-Schritte</translation>
        </message>
        <message>
            <source>Warmup, stable, decay</source>
            <translation>Warmup, konstant, abfallend</translation>
        </message>
        <message>
            <source>Warning</source>
            <translation>Warnung</translation>
        </message>
        <message>
            <source>Warnings</source>
            <translation>Warnungen</translation>
        </message>
        <message>
            <source>We couldn't tell which column of {file} has the texts.</source>
            <translation>Es ist nicht erkennbar, welche Spalte von {file} die Texte enthält.</translation>
        </message>
        <message>
            <source>We couldn't tell which columns hold the prompt and the answer. All columns are empty.</source>
            <translation>Es ließ sich nicht erkennen, welche Spalten Prompt und Antwort enthalten. Alle Spalten sind leer.</translation>
        </message>
        <message>
            <source>We couldn't tell which columns hold the prompt and the answer. Select a format below, and map its fields to your columns.</source>
            <translation>Es ist nicht erkennbar, welche Spalten Frage und Antwort enthalten. Wählen Sie unten ein Format, und ordnen Sie dessen Feldern Ihre Spalten zu.</translation>
        </message>
        <message>
            <source>We couldn't tell which columns hold the prompt and the answer. The columns are: {columns}.</source>
            <translation>Es ließ sich nicht erkennen, welche Spalten Prompt und Antwort enthalten. Vorhandene Spalten: {columns}.</translation>
        </message>
        <message>
            <source>Web page</source>
            <translation>Webseite</translation>
        </message>
        <message>
            <source>Weight</source>
            <translation>Gewicht</translation>
        </message>
        <message>
            <source>Weight decay</source>
            <translation>Weight Decay</translation>
        </message>
        <message>
            <source>Weight of this source</source>
            <translation>Gewicht dieser Quelle</translation>
        </message>
        <message>
            <source>Weight of {adapter} (slider)</source>
            <translation>Gewicht von {adapter} (Schieberegler)</translation>
        </message>
        <message>
            <source>Weight of {name}</source>
            <translation>Gewicht von {name}</translation>
        </message>
        <message>
            <source>Weights</source>
            <translation>Gewichte</translation>
        </message>
        <message>
            <source>Weights &amp; Biases</source>
            <translation>Weights &amp; Biases</translation>
        </message>
        <message>
            <source>Weights across devices</source>
            <translation>Gewichte auf mehreren Geräten</translation>
        </message>
        <message>
            <source>Weights all tokens equally, lets unlikely tokens grow faster, and ignores completions that were truncated at the token limit (Yu et al. 2025).</source>
            <translation>Gewichtet alle Token gleich, lässt unwahrscheinliche Token schneller wachsen und ignoriert Antworten, die am Tokenlimit abgeschnitten wurden (Yu et al. 2025).</translation>
        </message>
        <message>
            <source>Weights are sharded across the GPUs, as configured.</source>
            <translation>Die Gewichte sind wie eingestellt auf die GPUs verteilt.</translation>
        </message>
        <message>
            <source>Weights sharded across the GPUs</source>
            <translation>Gewichte auf die GPUs aufgeteilt</translation>
        </message>
        <message>
            <source>Welcome</source>
            <translation>Willkommen</translation>
        </message>
        <message>
            <source>What counts</source>
            <translation>Was zählt</translation>
        </message>
        <message>
            <source>What differs: {differences}.</source>
            <translation>Unterschiede: {differences}.</translation>
        </message>
        <message>
            <source>What each feature would contact</source>
            <translation>Was jede Funktion kontaktieren würde</translation>
        </message>
        <message>
            <source>What is rated.</source>
            <translation>Was bewertet wird.</translation>
        </message>
        <message>
            <source>What makes a good answer.</source>
            <translation>Was eine gute Antwort ausmacht.</translation>
        </message>
        <message>
            <source>What now?</source>
            <translation>Was nun?</translation>
        </message>
        <message>
            <source>What the completion has to contain. Empty for the reference.</source>
            <translation>Was die Antwort enthalten muss. Leer für die Referenz.</translation>
        </message>
        <message>
            <source>What the length counts.</source>
            <translation>Was die Länge zählt.</translation>
        </message>
        <message>
            <source>What to do with rows that exceed the maximum sequence length.</source>
            <translation>Was mit Zeilen geschieht, die die maximale Sequenzlänge überschreiten.</translation>
        </message>
        <message>
            <source>What to do with the reasoning before an answer: train on it like the answer, show it to the model without training on it, or remove it.</source>
            <translation>Was mit den Überlegungen vor einer Antwort geschieht: wie die Antwort trainieren, dem Modell ohne Training zeigen oder entfernen.</translation>
        </message>
        <message>
            <source>What you tried and what you observed</source>
            <translation>Was Sie ausprobiert und beobachtet haben</translation>
        </message>
        <message>
            <source>WhatsApp chat</source>
            <translation>WhatsApp-Chat</translation>
        </message>
        <message>
            <source>When</source>
            <translation>Wann</translation>
        </message>
        <message>
            <source>When you add or use a dataset from the Hub</source>
            <translation>Wenn Sie einen Datensatz vom Hub hinzufügen oder verwenden</translation>
        </message>
        <message>
            <source>When you choose or use a model from the Hub</source>
            <translation>Wenn Sie ein Modell vom Hub auswählen oder verwenden</translation>
        </message>
        <message>
            <source>When you evaluate a model on an OpenAI-compatible server, or let one judge</source>
            <translation>Wenn Sie ein Modell auf einem OpenAI-kompatiblen Server auswerten oder ein solches bewerten lassen</translation>
        </message>
        <message>
            <source>When you first use the built-in model</source>
            <translation>Wenn Sie das mitgelieferte Modell zum ersten Mal verwenden</translation>
        </message>
        <message>
            <source>When you install, update, or repair the engine</source>
            <translation>Wenn Sie die Engine installieren, aktualisieren oder reparieren</translation>
        </message>
        <message>
            <source>When you open the Export page, export to Ollama, or chat with its models</source>
            <translation>Wenn Sie die Seite „Export“ öffnen, nach Ollama exportieren oder mit Ollama-Modellen chatten</translation>
        </message>
        <message>
            <source>When you search the Hub for models</source>
            <translation>Wenn Sie auf dem Hub nach Modellen suchen</translation>
        </message>
        <message>
            <source>When you serve a model, or export one and llama-server is installed</source>
            <translation>Wenn Sie ein Modell bereitstellen oder eines exportieren und llama-server installiert ist</translation>
        </message>
        <message>
            <source>When you sign in, and to show your name if you are signed in</source>
            <translation>Wenn Sie sich anmelden, und um Ihren Namen anzuzeigen, wenn Sie angemeldet sind</translation>
        </message>
        <message>
            <source>When you upload an adapter or a model</source>
            <translation>Wenn Sie einen Adapter oder ein Modell hochladen</translation>
        </message>
        <message>
            <source>Where it is faster</source>
            <translation>Wo es schneller ist</translation>
        </message>
        <message>
            <source>Where results match</source>
            <translation>Wo die Ergebnisse übereinstimmen</translation>
        </message>
        <message>
            <source>Where the judge runs.</source>
            <translation>Wo das Bewertungsmodell läuft.</translation>
        </message>
        <message>
            <source>Whether the tolerance is a number or a share of the reference.</source>
            <translation>Ob die Toleranz eine Zahl oder ein Anteil der Referenz ist.</translation>
        </message>
        <message>
            <source>Which answer is better? Model names appear after you vote.</source>
            <translation>Welche Antwort ist besser? Die Modellnamen erscheinen nach Ihrer Stimme.</translation>
        </message>
        <message>
            <source>Which modules can be adapted depends on the model. The LoRA page lists its modules.</source>
            <translation>Welche Module sich anpassen lassen, hängt vom Modell ab. Die Seite „LoRA“ listet seine Module auf.</translation>
        </message>
        <message>
            <source>Which tokens count in the loss: the assistant's answers with their end-of-turn token, only the last answer, or the whole conversation.</source>
            <translation>Welche Tokens in den Loss eingehen: die Antworten des Assistenten mit ihrem Endzeichen, nur die letzte Antwort oder das ganze Gespräch.</translation>
        </message>
        <message>
            <source>Why the project couldn't be read.</source>
            <translation>Warum das Projekt nicht gelesen werden konnte.</translation>
        </message>
        <message>
            <source>Win rate</source>
            <translation>Gewinnquote</translation>
        </message>
        <message>
            <source>Wins</source>
            <translation>Siege</translation>
        </message>
        <message>
            <source>With these settings, the project also asks for the following. Apply them only if you expect that. None of this has happened yet.</source>
            <translation>Mit diesen Einstellungen verlangt das Projekt außerdem Folgendes. Übernehmen Sie sie nur, wenn Sie das erwarten. Noch ist nichts davon geschehen.</translation>
        </message>
        <message>
            <source>With this mapping, the first row is skipped: {reason}.</source>
            <translation>Mit dieser Zuordnung wird die erste Zeile übersprungen: {reason}.</translation>
        </message>
        <message>
            <source>With weight 2, each row is used twice per epoch. With 0.5, half of the rows are used.</source>
            <translation>Mit Gewicht 2 kommt jede Zeile zweimal je Epoche vor, mit 0,5 die Hälfte der Zeilen.</translation>
        </message>
        <message>
            <source>Withdraw</source>
            <translation>Zurückziehen</translation>
        </message>
        <message>
            <source>Withdraw the consent for {folder}</source>
            <translation>Erlaubnis für {folder} zurückziehen</translation>
        </message>
        <message>
            <source>Won</source>
            <translation>Gewonnen</translation>
        </message>
        <message>
            <source>Words</source>
            <translation>Wörter</translation>
        </message>
        <message>
            <source>Words in common with the reference, in any order.</source>
            <translation>Wörter, die mit der Referenz übereinstimmen, in beliebiger Reihenfolge.</translation>
        </message>
        <message>
            <source>Words in common with the reference, in the same order.</source>
            <translation>Wörter, die mit der Referenz übereinstimmen, in derselben Reihenfolge.</translation>
        </message>
        <message>
            <source>Words in common, in any order.</source>
            <translation>Gemeinsame Wörter in beliebiger Reihenfolge.</translation>
        </message>
        <message>
            <source>Words in common, in the same order.</source>
            <translation>Gemeinsame Wörter in derselben Reihenfolge.</translation>
        </message>
        <message>
            <source>Worse: perplexity {before} → {after} ({low} to {high} %)</source>
            <translation>Schlechter: Perplexität {before} → {after} ({low} bis {high} %)</translation>
        </message>
        <message>
            <source>Worse: {before} → {after} ({low} to {high} points)</source>
            <translation>Schlechter: {before} → {after} ({low} bis {high} Punkte)</translation>
        </message>
        <message>
            <source>Worst completion</source>
            <translation>Schlechteste Antwort</translation>
        </message>
        <message>
            <source>Write a label for each text, such as one for scores above a limit. To train on the texts alone, choose the format “Plain text”.</source>
            <translation>Schreiben Sie zu jedem Text ein Label, zum Beispiel eines für Werte über einer Grenze. Um nur die Texte zu trainieren, wählen Sie das Format „Reiner Text“.</translation>
        </message>
        <message>
            <source>Write each prompt and its answer as one row: match both files by the ID of the requests.</source>
            <translation>Schreiben Sie jeden Prompt und seine Antwort in eine Zeile: Ordnen Sie beide Dateien über die ID der Anfragen einander zu.</translation>
        </message>
        <message>
            <source>Write files to {folder}.</source>
            <translation>Dateien nach {folder} schreiben.</translation>
        </message>
        <message>
            <source>Write labels in lower case, with single spaces</source>
            <translation>Labels kleinschreiben, mit einfachen Leerzeichen</translation>
        </message>
        <message>
            <source>Write the file again with larger row groups.</source>
            <translation>Schreiben Sie die Datei neu mit größeren Zeilengruppen (Row Groups).</translation>
        </message>
        <message>
            <source>Write the rows to a file and choose that file.</source>
            <translation>Schreiben Sie die Zeilen in eine Datei und wählen Sie diese aus.</translation>
        </message>
        <message>
            <source>Write them as escapes in a Go string, such as {example}.</source>
            <translation>Schreiben Sie sie als Escape-Sequenzen in einer Go-Zeichenkette, etwa {example}.</translation>
        </message>
        <message>
            <source>Writing GGUF files</source>
            <translation>GGUF-Dateien werden geschrieben</translation>
        </message>
        <message>
            <source>Writing and long answers. European languages.</source>
            <translation>Schreiben und lange Antworten. Europäische Sprachen.</translation>
        </message>
        <message>
            <source>Writing the model card</source>
            <translation>Modellkarte wird geschrieben</translation>
        </message>
        <message>
            <source>Wrong</source>
            <translation>Falsch</translation>
        </message>
        <message>
            <source>Wrongly decoded characters</source>
            <translation>Falsch dekodierte Zeichen</translation>
        </message>
        <message>
            <source>Wrote LM Studio's preset {name}.</source>
            <translation>LM-Studio-Preset {name} geschrieben.</translation>
        </message>
        <message>
            <source>Wrote {file} ({size:size}). It is reused until it hasn't been served for {days} days.</source>
            <translation>{file} geschrieben ({size:size}). Die Datei wird wiederverwendet und erst gelöscht, wenn sie {days} Tage lang nicht bereitgestellt wurde.</translation>
        </message>
        <message>
            <source>You</source>
            <translation>Sie</translation>
        </message>
        <message>
            <source>You are not signed in to the Hugging Face Hub.</source>
            <translation>Sie sind nicht beim Hugging Face Hub angemeldet.</translation>
        </message>
        <message>
            <source>You can combine adapters only if they were trained on the same base model. The Merge page shows the base model of each adapter.</source>
            <translation>Adapter lassen sich nur kombinieren, wenn sie auf demselben Basismodell trainiert wurden. Die Seite „Zusammenführen“ zeigt das Basismodell jedes Adapters.</translation>
        </message>
        <message>
            <source>You can plot up to {count} runs at once. Clear a checkbox first.</source>
            <translation>Sie können bis zu {count} Läufe gleichzeitig zeichnen. Entfernen Sie zuerst ein Häkchen.</translation>
        </message>
        <message>
            <source>You can't undo this. Your run's files are kept, so you can create the model again.</source>
            <translation>Das lässt sich nicht rückgängig machen. Die Dateien Ihrer Läufe bleiben erhalten; Sie können das Modell neu erstellen.</translation>
        </message>
        <message>
            <source>You don't have to do anything: these messages answer nothing.</source>
            <translation>Sie müssen nichts tun: Diese Nachrichten sind keine Antworten.</translation>
        </message>
        <message>
            <source>You don't have write access to {repository} (status {status:d}).</source>
            <translation>Sie haben keinen Schreibzugriff auf {repository} (Status {status:d}).</translation>
        </message>
        <message>
            <source>You see up front whether the training fits your device. It continues when you close the window, pauses at any step, and survives a crash.</source>
            <translation>Sie sehen im Voraus, ob das Training auf Ihr Gerät passt. Es läuft weiter, wenn Sie das Fenster schließen, lässt sich nach jedem Schritt pausieren und übersteht einen Absturz.</translation>
        </message>
        <message>
            <source>You stopped training after {time}.</source>
            <translation>Sie haben das Training nach {time} beendet.</translation>
        </message>
        <message>
            <source>You voted for no difference ({names}). The next prompt starts a new comparison.</source>
            <translation>Sie haben für „kein Unterschied“ gestimmt ({names}). Der nächste Prompt beginnt einen neuen Vergleich.</translation>
        </message>
        <message>
            <source>You voted for {winner} ({names}). The next prompt starts a new comparison.</source>
            <translation>Sie haben für {winner} gestimmt ({names}). Der nächste Prompt beginnt einen neuen Vergleich.</translation>
        </message>
        <message>
            <source>You're asked again, with the code in view, before any of it runs.</source>
            <translation>Bevor Code läuft, werden Sie noch einmal gefragt und können ihn ansehen.</translation>
        </message>
        <message>
            <source>You're editing an earlier prompt. Send it to branch the conversation from there, or press Esc to cancel.</source>
            <translation>Sie bearbeiten einen früheren Prompt. Senden Sie ihn, um die Unterhaltung dort zu verzweigen, oder brechen Sie mit Esc ab.</translation>
        </message>
        <message>
            <source>Your data has no prompts for rewards.</source>
            <translation>Ihre Daten enthalten keine Prompts für Belohnungen.</translation>
        </message>
        <message>
            <source>Your data has prompts for rewards, but there are no rewards.</source>
            <translation>Ihre Daten enthalten Prompts für Belohnungen, aber es gibt keine Belohnungen.</translation>
        </message>
        <message>
            <source>Your examples</source>
            <translation>Ihre Beispiele</translation>
        </message>
        <message>
            <source>Your home folder is unknown: HOME isn't set, and the system has no entry for your account.</source>
            <translation>Ihr persönlicher Ordner ist unbekannt: HOME ist nicht gesetzt, und das System hat keinen Eintrag für Ihr Konto.</translation>
        </message>
        <message>
            <source>Your own llama.cpp build to convert and quantize with. Leave empty for the built-in one.</source>
            <translation>Eigenes llama.cpp zum Konvertieren und Quantisieren. Leer lassen für das mitgelieferte.</translation>
        </message>
        <message>
            <source>Your project is saved, and a running job continues. If something looks wrong, restart the app. Full details are in the log.</source>
            <translation>Ihr Projekt ist gespeichert, und ein laufender Auftrag läuft weiter. Wenn etwas nicht stimmt, starten Sie die App neu. Alle Einzelheiten stehen im Protokoll.</translation>
        </message>
        <message>
            <source>Your prompt</source>
            <translation>Ihr Prompt</translation>
        </message>
        <message>
            <source>Your settings and the list of projects can't be saved: {folder} can't be written to ({reason}).</source>
            <translation>Ihre Einstellungen und die Liste der Projekte können nicht gespeichert werden: In {folder} kann nicht geschrieben werden ({reason}).</translation>
        </message>
        <message>
            <source>Your settings are stored in the configuration folder, which Settings shows. Projects and runs don't depend on them.</source>
            <translation>Ihre Einstellungen liegen im Konfigurationsordner, den die Einstellungen anzeigen. Projekte und Läufe hängen nicht davon ab.</translation>
        </message>
        <message>
            <source>Zephyr</source>
            <translation>Zephyr</translation>
        </message>
        <message>
            <source>a blank answer</source>
            <translation>eine Antwort nur aus Leerzeichen</translation>
        </message>
        <message>
            <source>a blank system message</source>
            <translation>eine Systemnachricht nur aus Leerzeichen</translation>
        </message>
        <message>
            <source>a blank user message</source>
            <translation>eine Nutzernachricht nur aus Leerzeichen</translation>
        </message>
        <message>
            <source>a comparison with the number of a message</source>
            <translation>ein Vergleich mit der Nummer einer Nachricht</translation>
        </message>
        <message>
            <source>a conversation of {n} messages</source>
            <translation>ein Gespräch mit {n} Nachrichten</translation>
        </message>
        <message>
            <source>a conversation that begins with an answer</source>
            <translation>ein Gespräch, das mit einer Antwort beginnt</translation>
        </message>
        <message>
            <source>a conversation that ends with an answer</source>
            <translation>ein Gespräch, das mit einer Antwort endet</translation>
        </message>
        <message>
            <source>a few seconds</source>
            <translation>ein paar Sekunden</translation>
        </message>
        <message>
            <source>a file of an archive of X without posts or messages</source>
            <translation>eine Datei aus einem Archiv von X ohne Beiträge oder Nachrichten</translation>
        </message>
        <message>
            <source>a link that leads out of the folder</source>
            <translation>eine Verknüpfung, die aus dem Ordner hinausführt</translation>
        </message>
        <message>
            <source>a list of contacts or appointments</source>
            <translation>eine Liste von Kontakten oder Terminen</translation>
        </message>
        <message>
            <source>a mailbox or an e-mail</source>
            <translation>ein Postfach oder eine E-Mail</translation>
        </message>
        <message>
            <source>a message of several text parts</source>
            <translation>eine Nachricht aus mehreren Textteilen</translation>
        </message>
        <message>
            <source>a message with a picture</source>
            <translation>eine Nachricht mit einem Bild</translation>
        </message>
        <message>
            <source>a message with the role “developer”</source>
            <translation>eine Nachricht mit der Rolle „developer“</translation>
        </message>
        <message>
            <source>a parser or Harmony is used, which excludes the chat template</source>
            <translation>ein Parser oder Harmony wird verwendet, was die Chat-Vorlage ausschließt</translation>
        </message>
        <message>
            <source>a question</source>
            <translation>eine Frage</translation>
        </message>
        <message>
            <source>a quotation mark is never closed</source>
            <translation>ein Anführungszeichen wird nicht geschlossen</translation>
        </message>
        <message>
            <source>a repair would shift the masked parts of an answer</source>
            <translation>eine Reparatur würde die maskierten Teile einer Antwort verschieben</translation>
        </message>
        <message>
            <source>a reward model</source>
            <translation>ein Belohnungsmodell</translation>
        </message>
        <message>
            <source>a search in a text</source>
            <translation>eine Suche in einem Text</translation>
        </message>
        <message>
            <source>a slice of a text or list</source>
            <translation>ein Ausschnitt eines Textes oder einer Liste</translation>
        </message>
        <message>
            <source>a system message</source>
            <translation>eine Systemnachricht</translation>
        </message>
        <message>
            <source>a system message in the middle of a conversation</source>
            <translation>eine Systemnachricht mitten im Gespräch</translation>
        </message>
        <message>
            <source>a tensor has more than eight dimensions</source>
            <translation>ein Tensor hat mehr als acht Dimensionen</translation>
        </message>
        <message>
            <source>a text contains unescaped control characters, which are kept</source>
            <translation>ein Text enthält nicht maskierte Steuerzeichen, die erhalten bleiben</translation>
        </message>
        <message>
            <source>a text refers to an image, audio, or video by a placeholder such as &lt;image&gt;</source>
            <translation>ein Text verweist mit einem Platzhalter wie &lt;image&gt; auf ein Bild, Audio oder Video</translation>
        </message>
        <message>
            <source>a tool call has no name</source>
            <translation>ein Tool-Aufruf hat keinen Namen</translation>
        </message>
        <message>
            <source>a tool call is in an unknown format</source>
            <translation>ein Tool-Aufruf hat ein unbekanntes Format</translation>
        </message>
        <message>
            <source>a tool call is not an object</source>
            <translation>ein Tool-Aufruf ist kein Objekt</translation>
        </message>
        <message>
            <source>a tool call without a result</source>
            <translation>ein Tool-Aufruf ohne Ergebnis</translation>
        </message>
        <message>
            <source>a tool call without arguments</source>
            <translation>ein Tool-Aufruf ohne Argumente</translation>
        </message>
        <message>
            <source>a tool is in an unknown format</source>
            <translation>ein Tool hat ein unbekanntes Format</translation>
        </message>
        <message>
            <source>a tool without parameters or with incomplete descriptions</source>
            <translation>ein Tool ohne Parameter oder mit unvollständigen Beschreibungen</translation>
        </message>
        <message>
            <source>a turn contains an image, audio, or video</source>
            <translation>ein Beitrag enthält Bild, Ton oder Video</translation>
        </message>
        <message>
            <source>a turn contains markers of a chat template</source>
            <translation>ein Beitrag enthält Marken einer Chat-Vorlage</translation>
        </message>
        <message>
            <source>a turn contains something other than text</source>
            <translation>ein Beitrag enthält etwas anderes als Text</translation>
        </message>
        <message>
            <source>a turn has no content</source>
            <translation>ein Beitrag hat keinen Inhalt</translation>
        </message>
        <message>
            <source>a turn has no role</source>
            <translation>ein Beitrag hat keine Rolle</translation>
        </message>
        <message>
            <source>a turn has no speaker or no text</source>
            <translation>einer Nachricht fehlt der Name oder der Text</translation>
        </message>
        <message>
            <source>a turn has parts in the notation of Bedrock or Gemini, which isn't supported</source>
            <translation>ein Beitrag enthält Teile in der Schreibweise von Bedrock oder Gemini, die nicht unterstützt wird</translation>
        </message>
        <message>
            <source>a turn has the unknown role “{role}”</source>
            <translation>ein Beitrag hat die unbekannte Rolle „{role}“</translation>
        </message>
        <message>
            <source>a turn is empty</source>
            <translation>ein Beitrag ist leer</translation>
        </message>
        <message>
            <source>a turn is not an object</source>
            <translation>ein Beitrag ist kein Objekt</translation>
        </message>
        <message>
            <source>a user message right after a tool result</source>
            <translation>eine Nutzernachricht direkt nach einem Tool-Ergebnis</translation>
        </message>
        <message>
            <source>a value can't be written as text</source>
            <translation>ein Wert lässt sich nicht als Text schreiben</translation>
        </message>
        <message>
            <source>a vector's cosine similarity is {least:.4f} (minimum {limit:.2f})</source>
            <translation>die Kosinusähnlichkeit eines Vektors beträgt {least:.4f} (mindestens {limit:.2f})</translation>
        </message>
        <message>
            <source>about {size} peak</source>
            <translation>etwa {size} in der Spitze</translation>
        </message>
        <message>
            <source>about {time:duration}</source>
            <translation>etwa {time:duration}</translation>
        </message>
        <message>
            <source>about {total}</source>
            <translation>etwa {total}</translation>
        </message>
        <message>
            <source>about {train} training rows, validation from a file</source>
            <translation>etwa {train} Trainingszeilen, Validierung aus einer Datei</translation>
        </message>
        <message>
            <source>about {train} training rows, {validation} validation rows</source>
            <translation>etwa {train} Trainingszeilen, {validation} Validierungszeilen</translation>
        </message>
        <message>
            <source>accuracy</source>
            <translation>Genauigkeit</translation>
        </message>
        <message>
            <source>accuracy (%)</source>
            <translation>Genauigkeit (%)</translation>
        </message>
        <message>
            <source>act</source>
            <translation>Akt.</translation>
        </message>
        <message>
            <source>all rows</source>
            <translation>alle Zeilen</translation>
        </message>
        <message>
            <source>all {rows} rows checked</source>
            <translation>allen {rows} geprüften Zeilen</translation>
        </message>
        <message>
            <source>allowed {day}</source>
            <translation>erlaubt am {day}</translation>
        </message>
        <message>
            <source>alpha {alpha}</source>
            <translation>Alpha {alpha}</translation>
        </message>
        <message>
            <source>an answer and tool calls in one message</source>
            <translation>eine Antwort und Tool-Aufrufe in einer Nachricht</translation>
        </message>
        <message>
            <source>an answer refuses or claims to be another model</source>
            <translation>eine Antwort verweigert sich oder gibt sich als anderes Modell aus</translation>
        </message>
        <message>
            <source>an argument that is a list, an object, or null</source>
            <translation>ein Argument, das eine Liste, ein Objekt oder null ist</translation>
        </message>
        <message>
            <source>an earlier answer with a &lt;think&gt; block</source>
            <translation>eine frühere Antwort mit einem &lt;think&gt;-Block</translation>
        </message>
        <message>
            <source>an earlier answer with only a closing &lt;/think&gt;</source>
            <translation>eine frühere Antwort, die nur ein schließendes &lt;/think&gt; enthält</translation>
        </message>
        <message>
            <source>an earlier row of its conversation can't be used</source>
            <translation>eine frühere Zeile ihres Gesprächs ist nicht verwendbar</translation>
        </message>
        <message>
            <source>an empty answer</source>
            <translation>eine leere Antwort</translation>
        </message>
        <message>
            <source>an empty system message</source>
            <translation>eine leere Systemnachricht</translation>
        </message>
        <message>
            <source>an empty user message</source>
            <translation>eine leere Nutzernachricht</translation>
        </message>
        <message>
            <source>and</source>
            <translation>und</translation>
        </message>
        <message>
            <source>annotations of parts of texts</source>
            <translation>Annotationen von Textstellen</translation>
        </message>
        <message>
            <source>another answer to the same turn has a better rank</source>
            <translation>eine andere Antwort auf denselben Beitrag hat einen besseren Rang</translation>
        </message>
        <message>
            <source>another program is using it</source>
            <translation>ein anderes Programm verwendet sie gerade</translation>
        </message>
        <message>
            <source>answer loss</source>
            <translation>Loss der Antwort</translation>
        </message>
        <message>
            <source>answer loss (nats per token)</source>
            <translation>Loss der Antwort (Nats je Token)</translation>
        </message>
        <message>
            <source>answer score</source>
            <translation>Bewertung der Antworten</translation>
        </message>
        <message>
            <source>answer score (%)</source>
            <translation>Bewertung der Antworten (%)</translation>
        </message>
        <message>
            <source>answering validation rows</source>
            <translation>Validierungszeilen werden beantwortet</translation>
        </message>
        <message>
            <source>answers</source>
            <translation>Antworten</translation>
        </message>
        <message>
            <source>answers don't end at {token}</source>
            <translation>Antworten enden nicht bei {token}</translation>
        </message>
        <message>
            <source>arguments</source>
            <translation>Argumente</translation>
        </message>
        <message>
            <source>arithmetic</source>
            <translation>Rechnen</translation>
        </message>
        <message>
            <source>assistant</source>
            <translation>Assistent</translation>
        </message>
        <message>
            <source>at most {tokens} tokens</source>
            <translation>höchstens {tokens} Tokens</translation>
        </message>
        <message>
            <source>attaching the adapter</source>
            <translation>Adapter anfügen</translation>
        </message>
        <message>
            <source>attention</source>
            <translation>Attention</translation>
        </message>
        <message>
            <source>bad</source>
            <translation>schlecht</translation>
        </message>
        <message>
            <source>base model with {adapters}</source>
            <translation>Basismodell mit {adapters}</translation>
        </message>
        <message>
            <source>begins with ~ and an unknown user</source>
            <translation>beginnt mit ~ und einem unbekannten Benutzer</translation>
        </message>
        <message>
            <source>belongs to the split “{split}”</source>
            <translation>gehört zum Split „{split}“</translation>
        </message>
        <message>
            <source>bfloat16</source>
            <translation>bfloat16</translation>
        </message>
        <message>
            <source>binary models</source>
            <translation>binäre Modelle</translation>
        </message>
        <message>
            <source>build {name}</source>
            <translation>Build {name}</translation>
        </message>
        <message>
            <source>bundled llama.cpp ({package} {version})</source>
            <translation>mitgeliefertes llama.cpp ({package} {version})</translation>
        </message>
        <message>
            <source>can be resumed</source>
            <translation>fortsetzbar</translation>
        </message>
        <message>
            <source>canceled</source>
            <translation>abgebrochen</translation>
        </message>
        <message>
            <source>change in general abilities (points)</source>
            <translation>Änderung der allgemeinen Fähigkeiten (Punkte)</translation>
        </message>
        <message>
            <source>change in points</source>
            <translation>Änderung in Punkten</translation>
        </message>
        <message>
            <source>checking</source>
            <translation>wird geprüft</translation>
        </message>
        <message>
            <source>checking rows</source>
            <translation>Zeilen prüfen</translation>
        </message>
        <message>
            <source>checking the GGUF file</source>
            <translation>GGUF-Datei wird geprüft</translation>
        </message>
        <message>
            <source>checking the merged model</source>
            <translation>zusammengeführtes Modell prüfen</translation>
        </message>
        <message>
            <source>checkpoint</source>
            <translation>Checkpoint</translation>
        </message>
        <message>
            <source>checkpoint saved at step {step}</source>
            <translation>Checkpoint bei Schritt {step} gespeichert</translation>
        </message>
        <message>
            <source>choices</source>
            <translation>Auswahlmöglichkeiten</translation>
        </message>
        <message>
            <source>chrF</source>
            <translation>chrF</translation>
        </message>
        <message>
            <source>classifying</source>
            <translation>klassifizieren</translation>
        </message>
        <message>
            <source>clip fraction</source>
            <translation>Clip-Anteil</translation>
        </message>
        <message>
            <source>clip fraction (%)</source>
            <translation>Clip-Anteil (%)</translation>
        </message>
        <message>
            <source>clip fraction above</source>
            <translation>Clip-Anteil nach oben</translation>
        </message>
        <message>
            <source>clip fraction above (%)</source>
            <translation>Clip-Anteil nach oben (%)</translation>
        </message>
        <message>
            <source>clip fraction below</source>
            <translation>Clip-Anteil nach unten</translation>
        </message>
        <message>
            <source>clip fraction below (%)</source>
            <translation>Clip-Anteil nach unten (%)</translation>
        </message>
        <message numerus="yes">
            <source>columns {names}</source>
            <translation>
                <numerusform>Spalte {names}</numerusform>
                <numerusform>Spalten {names}</numerusform>
            </translation>
        </message>
        <message>
            <source>combining adapters</source>
            <translation>Adapter kombinieren</translation>
        </message>
        <message>
            <source>common sense</source>
            <translation>Alltagswissen</translation>
        </message>
        <message>
            <source>comparing label probabilities</source>
            <translation>Wahrscheinlichkeiten der Labels vergleichen</translation>
        </message>
        <message>
            <source>comparing prompts with Ollama</source>
            <translation>Prompts mit Ollama vergleichen</translation>
        </message>
        <message>
            <source>comparing prompts with llama-server</source>
            <translation>Prompts mit llama-server vergleichen</translation>
        </message>
        <message>
            <source>comparing rows</source>
            <translation>Zeilen vergleichen</translation>
        </message>
        <message>
            <source>comparing the GGUF files</source>
            <translation>GGUF-Dateien werden verglichen</translation>
        </message>
        <message>
            <source>comparing the merged model</source>
            <translation>zusammengeführtes Modell wird verglichen</translation>
        </message>
        <message>
            <source>comparing token counts with Ollama</source>
            <translation>Tokenzahlen mit Ollama vergleichen</translation>
        </message>
        <message>
            <source>comparing vectors</source>
            <translation>Vektoren werden verglichen</translation>
        </message>
        <message>
            <source>comparing vectors with Ollama</source>
            <translation>Vektoren mit Ollama vergleichen</translation>
        </message>
        <message>
            <source>comparing with llama.cpp</source>
            <translation>mit llama.cpp vergleichen</translation>
        </message>
        <message>
            <source>comparing with the model</source>
            <translation>mit dem Modell vergleichen</translation>
        </message>
        <message>
            <source>compiling the model</source>
            <translation>Modell kompilieren</translation>
        </message>
        <message>
            <source>completion length</source>
            <translation>Antwortlänge</translation>
        </message>
        <message>
            <source>completions</source>
            <translation>Antworten</translation>
        </message>
        <message>
            <source>completions without a reward</source>
            <translation>Antworten ohne Belohnung</translation>
        </message>
        <message>
            <source>computing initial values</source>
            <translation>Anfangswerte berechnen</translation>
        </message>
        <message>
            <source>computing reference log-probabilities</source>
            <translation>Referenzwahrscheinlichkeiten werden berechnet</translation>
        </message>
        <message>
            <source>computing the importance matrix</source>
            <translation>Importance-Matrix wird berechnet</translation>
        </message>
        <message>
            <source>computing the teacher's probabilities</source>
            <translation>Wahrscheinlichkeiten des Lehrers werden berechnet</translation>
        </message>
        <message>
            <source>config.json beside the adapter</source>
            <translation>config.json neben dem Adapter</translation>
        </message>
        <message>
            <source>config.json can't be read ({reason})</source>
            <translation>config.json lässt sich nicht lesen ({reason})</translation>
        </message>
        <message>
            <source>config.json can't be used ({reason})</source>
            <translation>config.json ist nicht verwendbar ({reason})</translation>
        </message>
        <message>
            <source>config.json is not a JSON object</source>
            <translation>config.json ist kein JSON-Objekt</translation>
        </message>
        <message>
            <source>config.json of the base model</source>
            <translation>config.json des Basismodells</translation>
        </message>
        <message>
            <source>config.json states {method} weights, but they aren't quantized</source>
            <translation>laut config.json sind die Gewichte mit {method} quantisiert, sie sind es aber nicht</translation>
        </message>
        <message>
            <source>contacting the Hub</source>
            <translation>Hub wird kontaktiert</translation>
        </message>
        <message>
            <source>contains a null character</source>
            <translation>enthält ein Nullzeichen</translation>
        </message>
        <message>
            <source>contains a range whose end is before its start</source>
            <translation>enthält einen Bereich, dessen Ende vor dem Anfang liegt</translation>
        </message>
        <message>
            <source>contains a user name or password, which can't be saved in a project; set the environment variable OLLAMA_HOST to this address and leave the field empty</source>
            <translation>enthält einen Benutzernamen oder ein Passwort, was sich in einem Projekt nicht speichern lässt; setzen Sie die Umgebungsvariable OLLAMA_HOST auf diese Adresse und lassen Sie das Feld leer</translation>
        </message>
        <message>
            <source>context</source>
            <translation>Kontext</translation>
        </message>
        <message>
            <source>continues from {folder}</source>
            <translation>setzt {folder} fort</translation>
        </message>
        <message>
            <source>converting the adapter to GGUF</source>
            <translation>Adapter in GGUF umwandeln</translation>
        </message>
        <message>
            <source>converting the vocabulary</source>
            <translation>Vokabular wird konvertiert</translation>
        </message>
        <message>
            <source>converting to GGUF</source>
            <translation>in GGUF umwandeln</translation>
        </message>
        <message>
            <source>cosine</source>
            <translation>Kosinus</translation>
        </message>
        <message>
            <source>creating the commit</source>
            <translation>Commit wird erstellt</translation>
        </message>
        <message>
            <source>creating the model in Ollama</source>
            <translation>Modell in Ollama anlegen</translation>
        </message>
        <message>
            <source>cross-entropy</source>
            <translation>Kreuzentropie</translation>
        </message>
        <message>
            <source>cross-entropy (nats per token)</source>
            <translation>Kreuzentropie (Nats pro Token)</translation>
        </message>
        <message>
            <source>cut off</source>
            <translation>abgeschnitten</translation>
        </message>
        <message>
            <source>damaged files ({count})</source>
            <translation>beschädigte Dateien ({count})</translation>
        </message>
        <message>
            <source>deleted messages ({count})</source>
            <translation>gelöschte Nachrichten ({count})</translation>
        </message>
        <message>
            <source>deriving the Ollama template</source>
            <translation>Ollama-Vorlage ableiten</translation>
        </message>
        <message>
            <source>describes the data</source>
            <translation>beschreibt die Daten</translation>
        </message>
        <message>
            <source>developer messages</source>
            <translation>Nachrichten der Rolle „developer“</translation>
        </message>
        <message>
            <source>done</source>
            <translation>fertig</translation>
        </message>
        <message>
            <source>downloading the dataset</source>
            <translation>Datensatz wird heruntergeladen</translation>
        </message>
        <message>
            <source>downloading the model</source>
            <translation>Modell wird heruntergeladen</translation>
        </message>
        <message>
            <source>driver {version}</source>
            <translation>Treiber {version}</translation>
        </message>
        <message>
            <source>each reward</source>
            <translation>jede Belohnung</translation>
        </message>
        <message>
            <source>emoji</source>
            <translation>Emojis</translation>
        </message>
        <message>
            <source>empty messages ({count})</source>
            <translation>leere Nachrichten ({count})</translation>
        </message>
        <message>
            <source>enough to show a difference of about {points:.0f} points</source>
            <translation>genug, um einen Unterschied von etwa {points:.0f} Punkten zu zeigen</translation>
        </message>
        <message>
            <source>equal rewards (%)</source>
            <translation>gleiche Belohnungen (%)</translation>
        </message>
        <message>
            <source>error: {problem} {remedy}</source>
            <translation>Fehler: {problem} {remedy}</translation>
        </message>
        <message>
            <source>estimating lengths</source>
            <translation>Längen schätzen</translation>
        </message>
        <message>
            <source>estimating memory and time</source>
            <translation>Speicher und Zeit schätzen</translation>
        </message>
        <message>
            <source>eval loss</source>
            <translation>Eval-Loss</translation>
        </message>
        <message>
            <source>eval reward</source>
            <translation>Eval-Belohnung</translation>
        </message>
        <message>
            <source>evaluating</source>
            <translation>Evaluation</translation>
        </message>
        <message>
            <source>evaluating retrieval</source>
            <translation>Suche wird ausgewertet</translation>
        </message>
        <message>
            <source>evaluating {column}</source>
            <translation>{column} auswerten</translation>
        </message>
        <message>
            <source>evaluations</source>
            <translation>Evaluationen</translation>
        </message>
        <message>
            <source>extreme</source>
            <translation>extrem</translation>
        </message>
        <message>
            <source>final</source>
            <translation>abschließende</translation>
        </message>
        <message>
            <source>fine-tuning</source>
            <translation>Feinabstimmung</translation>
        </message>
        <message>
            <source>fits in {bits}</source>
            <translation>passt in {bits}</translation>
        </message>
        <message>
            <source>float16</source>
            <translation>float16</translation>
        </message>
        <message>
            <source>float32</source>
            <translation>float32</translation>
        </message>
        <message>
            <source>following a format</source>
            <translation>Einhalten eines Formats</translation>
        </message>
        <message>
            <source>for the IDs of tool calls</source>
            <translation>für die IDs von Tool-Aufrufen</translation>
        </message>
        <message>
            <source>for the current date</source>
            <translation>für das aktuelle Datum</translation>
        </message>
        <message>
            <source>for the tool names of results</source>
            <translation>für die Tool-Namen von Ergebnissen</translation>
        </message>
        <message>
            <source>for “{question}” it has {actual} instead of {expected}</source>
            <translation>bei „{question}“ steht {actual} statt {expected}</translation>
        </message>
        <message>
            <source>for “{question}” the server builds no prompt: {reason}</source>
            <translation>bei „{question}“ erzeugt der Server keinen Prompt: {reason}</translation>
        </message>
        <message>
            <source>formatting in fields ({count})</source>
            <translation>Formatierungen in Feldern ({count})</translation>
        </message>
        <message>
            <source>forwarded messages ({count})</source>
            <translation>weitergeleitete Nachrichten ({count})</translation>
        </message>
        <message>
            <source>from your package index</source>
            <translation>aus Ihrem Paketverzeichnis</translation>
        </message>
        <message>
            <source>gated</source>
            <translation>zugangsbeschränkt</translation>
        </message>
        <message>
            <source>gated: accept the terms on the Hub</source>
            <translation>zugangsbeschränkt: Bedingungen auf dem Hub akzeptieren</translation>
        </message>
        <message>
            <source>generating answers ({source})</source>
            <translation>Antworten werden erzeugt ({source})</translation>
        </message>
        <message>
            <source>generating completions</source>
            <translation>Antworten schreiben</translation>
        </message>
        <message>
            <source>generating sample answers</source>
            <translation>Beispielantworten erzeugen</translation>
        </message>
        <message>
            <source>gguf has no name for {tensor}</source>
            <translation>gguf kennt keinen Namen für {tensor}</translation>
        </message>
        <message>
            <source>good</source>
            <translation>gut</translation>
        </message>
        <message>
            <source>gradient norm</source>
            <translation>Gradientennorm</translation>
        </message>
        <message>
            <source>greedy answers</source>
            <translation>Antworten ohne Zufall (greedy)</translation>
        </message>
        <message>
            <source>has a token that begins or ends with a space</source>
            <translation>enthält ein Token, das mit einem Leerzeichen beginnt oder endet</translation>
        </message>
        <message>
            <source>has an empty entry</source>
            <translation>enthält einen leeren Eintrag</translation>
        </message>
        <message>
            <source>has an entry that isn't of the form name=rank or name=rank:alpha</source>
            <translation>hat einen Eintrag, der nicht die Form Name=Rang oder Name=Rang:Alpha hat</translation>
        </message>
        <message>
            <source>has more than 1,000 entries</source>
            <translation>hat mehr als 1 000 Einträge</translation>
        </message>
        <message>
            <source>has the same token twice</source>
            <translation>enthält dasselbe Token zweimal</translation>
        </message>
        <message>
            <source>hashing the GGUF file</source>
            <translation>Prüfsumme der GGUF-Datei bilden</translation>
        </message>
        <message>
            <source>hidden file</source>
            <translation>versteckte Datei</translation>
        </message>
        <message>
            <source>high confidence</source>
            <translation>sicher</translation>
        </message>
        <message>
            <source>images and sounds ({count})</source>
            <translation>Bilder und Töne ({count})</translation>
        </message>
        <message>
            <source>importing Unsloth</source>
            <translation>Unsloth laden</translation>
        </message>
        <message>
            <source>importing the model</source>
            <translation>Modell importieren</translation>
        </message>
        <message>
            <source>in-batch accuracy</source>
            <translation>Genauigkeit im Batch</translation>
        </message>
        <message>
            <source>in-batch accuracy (%)</source>
            <translation>Genauigkeit im Batch (%)</translation>
        </message>
        <message>
            <source>included</source>
            <translation>vorhanden</translation>
        </message>
        <message>
            <source>incomplete</source>
            <translation>unvollständig</translation>
        </message>
        <message>
            <source>indexing the benchmarks</source>
            <translation>Benchmarks werden erfasst</translation>
        </message>
        <message>
            <source>inspecting the model</source>
            <translation>Modell wird untersucht</translation>
        </message>
        <message>
            <source>instances inside instructions become one row each, with their instruction</source>
            <translation>Beispiele in Anweisungen werden je eine Zeile, mit ihrer Anweisung</translation>
        </message>
        <message>
            <source>is not a list of block numbers such as 0-7, 12</source>
            <translation>ist keine Liste von Blocknummern wie 0-7, 12</translation>
        </message>
        <message>
            <source>is not a model name such as my-model or my-model:v2</source>
            <translation>ist kein Modellname wie my-model oder my-model:v2</translation>
        </message>
        <message>
            <source>is too long for a path</source>
            <translation>ist zu lang für einen Pfad</translation>
        </message>
        <message>
            <source>it adapts parameters directly, such as stacked experts</source>
            <translation>er passt Parameter direkt an, etwa gestapelte Experten</translation>
        </message>
        <message>
            <source>it belongs to another user</source>
            <translation>der Ordner gehört einem anderen Benutzer</translation>
        </message>
        <message>
            <source>it changes biases</source>
            <translation>er ändert Bias-Werte</translation>
        </message>
        <message>
            <source>it changes more than linear layers</source>
            <translation>er ändert nicht nur lineare Schichten</translation>
        </message>
        <message>
            <source>it contains no weights</source>
            <translation>er enthält keine Gewichte</translation>
        </message>
        <message>
            <source>it contains only one of the two matrices (A and B) for {module}</source>
            <translation>er enthält nur eine der beiden Matrizen (A und B) für {module}</translation>
        </message>
        <message numerus="yes">
            <source>it contains {n} tensors that were trained in full</source>
            <translation>
                <numerusform>er enthält {n} vollständig trainierten Tensor</numerusform>
                <numerusform>er enthält {n} vollständig trainierte Tensoren</numerusform>
            </translation>
        </message>
        <message>
            <source>it contains {tensor}</source>
            <translation>er enthält {tensor}</translation>
        </message>
        <message>
            <source>it contains {tensor} twice</source>
            <translation>er enthält {tensor} zweimal</translation>
        </message>
        <message>
            <source>it did not pass its review</source>
            <translation>sie hat ihre Prüfung nicht bestanden</translation>
        </message>
        <message>
            <source>it doesn't stop at token {token:d}, which ends an answer</source>
            <translation>es stoppt nicht bei Token {token:d}, das eine Antwort beendet</translation>
        </message>
        <message>
            <source>it ended</source>
            <translation>es wurde beendet</translation>
        </message>
        <message>
            <source>it ends in the middle of its header</source>
            <translation>sie endet mitten im Header</translation>
        </message>
        <message>
            <source>it gives other label probabilities</source>
            <translation>es gibt andere Wahrscheinlichkeiten der Labels aus</translation>
        </message>
        <message>
            <source>it has a value of the unknown type {kind:d}</source>
            <translation>sie enthält einen Wert vom unbekannten Typ {kind:d}</translation>
        </message>
        <message>
            <source>it has changed since it was written</source>
            <translation>sie hat sich geändert, seit sie geschrieben wurde</translation>
        </message>
        <message>
            <source>it has new tokens</source>
            <translation>er hat neue Token</translation>
        </message>
        <message>
            <source>it has no head, which predicts the labels</source>
            <translation>ihm fehlt der Kopf, der die Labels vorhersagt</translation>
        </message>
        <message>
            <source>it has no prompt</source>
            <translation>sie hat keinen Prompt</translation>
        </message>
        <message>
            <source>it has no rank, unlike other answers to the same turn</source>
            <translation>sie hat keinen Rang, anders als andere Antworten auf denselben Beitrag</translation>
        </message>
        <message>
            <source>it has no table of notes</source>
            <translation>sie hat keine Tabelle mit Notizen</translation>
        </message>
        <message>
            <source>it has no tokenizer</source>
            <translation>es hat keinen Tokenizer</translation>
        </message>
        <message>
            <source>it has no valid rank (r) and alpha (lora_alpha)</source>
            <translation>darin fehlen gültige Werte für Rang (r) und Alpha (lora_alpha)</translation>
        </message>
        <message>
            <source>it has several labels</source>
            <translation>sie hat mehrere Labels</translation>
        </message>
        <message>
            <source>it has the key {key} twice</source>
            <translation>der Schlüssel {key} kommt zweimal vor</translation>
        </message>
        <message>
            <source>it has the tensor {tensor} twice</source>
            <translation>der Tensor {tensor} kommt zweimal vor</translation>
        </message>
        <message>
            <source>it has too many values</source>
            <translation>sie enthält zu viele Werte</translation>
        </message>
        <message>
            <source>it is a DoRA adapter</source>
            <translation>er ist ein DoRA-Adapter</translation>
        </message>
        <message>
            <source>it is a DoRA adapter, and magnitudes can't be added</source>
            <translation>er ist ein DoRA-Adapter, und Magnituden lassen sich nicht addieren</translation>
        </message>
        <message>
            <source>it is a link to a folder or out of its folder</source>
            <translation>sie ist ein Link auf einen Ordner oder aus ihrem Ordner hinaus</translation>
        </message>
        <message>
            <source>it is a link to another file</source>
            <translation>sie ist ein Link auf eine andere Datei</translation>
        </message>
        <message>
            <source>it is larger than {limit:size}</source>
            <translation>sie ist größer als {limit:size}</translation>
        </message>
        <message>
            <source>it is larger than {most:size}</source>
            <translation>sie ist größer als {most:size}</translation>
        </message>
        <message>
            <source>it is missing</source>
            <translation>fehlt</translation>
        </message>
        <message>
            <source>it is nested too deeply</source>
            <translation>sie ist zu tief verschachtelt</translation>
        </message>
        <message>
            <source>it is not an answer; it is read with the answers after it</source>
            <translation>sie ist keine Antwort und wird mit den Antworten danach gelesen</translation>
        </message>
        <message>
            <source>it isn't UTF-8 text</source>
            <translation>es ist kein UTF-8-Text</translation>
        </message>
        <message>
            <source>it isn't a GGUF file</source>
            <translation>es ist keine GGUF-Datei</translation>
        </message>
        <message>
            <source>it isn't a JSON object</source>
            <translation>kein JSON-Objekt</translation>
        </message>
        <message>
            <source>it isn't a folder</source>
            <translation>der Pfad ist kein Ordner</translation>
        </message>
        <message>
            <source>it isn't a regular file</source>
            <translation>sie ist keine gewöhnliche Datei</translation>
        </message>
        <message>
            <source>it isn't annotated</source>
            <translation>sie ist nicht annotiert</translation>
        </message>
        <message>
            <source>it isn't valid JSON</source>
            <translation>kein gültiges JSON</translation>
        </message>
        <message>
            <source>it pools in another way</source>
            <translation>sie verwendet ein anderes Pooling</translation>
        </message>
        <message>
            <source>it splits texts into other tokens</source>
            <translation>sie zerlegt Texte in andere Tokens</translation>
        </message>
        <message>
            <source>it trained biases</source>
            <translation>er hat Biases trainiert</translation>
        </message>
        <message>
            <source>it trained {tensor} in full</source>
            <translation>er hat {tensor} vollständig trainiert</translation>
        </message>
        <message>
            <source>it uses {options}</source>
            <translation>er verwendet {options}</translation>
        </message>
        <message>
            <source>it was deleted</source>
            <translation>sie wurde gelöscht</translation>
        </message>
        <message>
            <source>it was initialized with {method}, which removed a part of the base model</source>
            <translation>er wurde mit {method} initialisiert, wobei dem Basismodell ein Teil entnommen wurde</translation>
        </message>
        <message>
            <source>it was rejected by the annotator</source>
            <translation>sie wurde beim Annotieren abgelehnt</translation>
        </message>
        <message>
            <source>it was skipped by the annotator</source>
            <translation>sie wurde beim Annotieren übersprungen</translation>
        </message>
        <message>
            <source>it was written again, without checksums</source>
            <translation>sie wurde neu geschrieben, ohne Prüfsummen</translation>
        </message>
        <message>
            <source>it works only for {models}; other models would generate noise</source>
            <translation>er funktioniert nur mit {models}; andere Modelle würden Rauschen erzeugen</translation>
        </message>
        <message>
            <source>its KL divergence is {kl:.3g} nats (maximum {limit:g})</source>
            <translation>die KL-Divergenz beträgt {kl:.3g} Nats (höchstens {limit:g})</translation>
        </message>
        <message>
            <source>its SHA-256 is {digest}…, expected {expected}…</source>
            <translation>ihr SHA-256 ist {digest}…, erwartet wurde {expected}…</translation>
        </message>
        <message>
            <source>its annotation is neither one label nor a written answer</source>
            <translation>ihre Annotation ist weder ein einzelnes Label noch eine geschriebene Antwort</translation>
        </message>
        <message>
            <source>its annotators disagree</source>
            <translation>die Annotierenden sind sich nicht einig</translation>
        </message>
        <message>
            <source>its answer is labeled as bad</source>
            <translation>ihre Antwort ist als schlecht gekennzeichnet</translation>
        </message>
        <message>
            <source>its built-in renderer</source>
            <translation>seinem eingebauten Renderer</translation>
        </message>
        <message>
            <source>its chat template renders conversations differently</source>
            <translation>die Chat-Vorlage rendert Gespräche anders</translation>
        </message>
        <message>
            <source>its checksum differs from the one recorded when the folder was created</source>
            <translation>die Prüfsumme stimmt nicht mit der überein, die beim Anlegen des Ordners gespeichert wurde</translation>
        </message>
        <message>
            <source>its config.json doesn't name a label for each output of its head</source>
            <translation>seine config.json nennt nicht für jede Ausgabe seines Kopfes ein Label</translation>
        </message>
        <message>
            <source>its end is missing</source>
            <translation>ihr Ende fehlt</translation>
        </message>
        <message>
            <source>its head has rows of its own, and shares the model's</source>
            <translation>seine Ausgabeschicht hat eigene Zeilen, obwohl sie im Modell mit der Einbettung geteilt ist</translation>
        </message>
        <message>
            <source>its header describes {claimed:number} parameters, but its tensors have {stored:number}</source>
            <translation>der Header beschreibt {claimed:number} Parameter, die Tensoren haben aber {stored:number}</translation>
        </message>
        <message>
            <source>its header is damaged</source>
            <translation>der Header ist beschädigt</translation>
        </message>
        <message>
            <source>its header is invalid ({reason})</source>
            <translation>ihr Header ist ungültig ({reason})</translation>
        </message>
        <message>
            <source>its header isn't a JSON object</source>
            <translation>ihr Header ist kein JSON-Objekt</translation>
        </message>
        <message>
            <source>its list of files is too large</source>
            <translation>ihre Dateiliste ist zu groß</translation>
        </message>
        <message>
            <source>its manifest is damaged</source>
            <translation>sein Manifest ist beschädigt</translation>
        </message>
        <message>
            <source>its new tokens have other IDs in this tokenizer</source>
            <translation>seine neuen Token haben in diesem Tokenizer andere IDs</translation>
        </message>
        <message>
            <source>its parent row is missing</source>
            <translation>die übergeordnete Zeile fehlt</translation>
        </message>
        <message>
            <source>its parent rows form a cycle</source>
            <translation>die Zeilen davor bilden einen Kreis</translation>
        </message>
        <message>
            <source>its path isn't valid UTF-8; rename it</source>
            <translation>sein Pfad ist kein gültiges UTF-8; benenne es um</translation>
        </message>
        <message>
            <source>its settings and the weights of {module} disagree about {setting}</source>
            <translation>seine Einstellungen und die Gewichte von {module} widersprechen sich bei {setting}</translation>
        </message>
        <message>
            <source>its tokenizer adds more than {limit:number} tokens to its vocabulary</source>
            <translation>der Tokenizer ergänzt sein Vokabular um mehr als {limit:number} Token</translation>
        </message>
        <message>
            <source>its tokenizer can't be loaded from {files} ({reason})</source>
            <translation>der Tokenizer kann nicht aus {files} geladen werden ({reason})</translation>
        </message>
        <message>
            <source>its tokenizer ends the process that loads it, because a file is damaged or too large</source>
            <translation>der Tokenizer lässt den Prozess abstürzen, der ihn lädt, weil eine Datei beschädigt oder zu groß ist</translation>
        </message>
        <message>
            <source>its tokenizer has more than {tokens:number} tokens</source>
            <translation>der Tokenizer hat mehr als {tokens:number} Token</translation>
        </message>
        <message>
            <source>its tokenizer has tokens that are too long</source>
            <translation>der Tokenizer enthält zu lange Token</translation>
        </message>
        <message>
            <source>its tokenizer makes short texts too long</source>
            <translation>sein Tokenizer macht kurze Texte zu lang</translation>
        </message>
        <message>
            <source>its tokenizer needs more than {memory:memory} of memory</source>
            <translation>der Tokenizer braucht mehr als {memory:memory} Arbeitsspeicher</translation>
        </message>
        <message>
            <source>its tokenizer splits the same text differently each time (dropout)</source>
            <translation>sein Tokenizer zerlegt denselben Text jedes Mal anders (Dropout)</translation>
        </message>
        <message>
            <source>its tokens differ in conversation {conversation}, from token {token}</source>
            <translation>die Tokens weichen in Gespräch {conversation} ab Token {token} ab</translation>
        </message>
        <message>
            <source>its top-1 agreement is {top1:percent} (minimum {limit:percent})</source>
            <translation>die Top-1-Übereinstimmung beträgt {top1:percent} (mindestens {limit:percent})</translation>
        </message>
        <message>
            <source>its weights include {module}, which its settings don't select</source>
            <translation>seine Gewichte enthalten {module}, das seine Einstellungen nicht auswählen</translation>
        </message>
        <message>
            <source>its {file} is damaged ({reason})</source>
            <translation>{file} ist beschädigt ({reason})</translation>
        </message>
        <message>
            <source>its {tensor} differs from the first adapter's</source>
            <translation>{tensor} unterscheidet sich von dem des ersten Adapters</translation>
        </message>
        <message>
            <source>joining conversations</source>
            <translation>Gespräche werden zusammengesetzt</translation>
        </message>
        <message>
            <source>judging answers</source>
            <translation>Antworten bewerten</translation>
        </message>
        <message>
            <source>judging the GGUF files</source>
            <translation>GGUF-Dateien werden beurteilt</translation>
        </message>
        <message>
            <source>just now</source>
            <translation>gerade eben</translation>
        </message>
        <message>
            <source>large</source>
            <translation>groß</translation>
        </message>
        <message>
            <source>later system messages</source>
            <translation>spätere Systemnachrichten</translation>
        </message>
        <message>
            <source>layer</source>
            <translation>Schicht</translation>
        </message>
        <message>
            <source>layers are missing: {layers}</source>
            <translation>es fehlen Schichten: {layers}</translation>
        </message>
        <message>
            <source>learning rate</source>
            <translation>Lernrate</translation>
        </message>
        <message>
            <source>line break</source>
            <translation>Zeilenumbruch</translation>
        </message>
        <message>
            <source>lines that can't be read ({count})</source>
            <translation>nicht lesbare Zeilen ({count})</translation>
        </message>
        <message>
            <source>link previews ({count})</source>
            <translation>Linkvorschauen ({count})</translation>
        </message>
        <message>
            <source>lists a quantization twice</source>
            <translation>nennt eine Quantisierung zweimal</translation>
        </message>
        <message>
            <source>llama-server</source>
            <translation>llama-server</translation>
        </message>
        <message>
            <source>llama.cpp always sets `enable_thinking`, and the chat template writes another prompt where it isn't set, as in training</source>
            <translation>llama.cpp setzt immer `enable_thinking`, und die Chat-Vorlage schreibt einen anderen Prompt, wenn es wie im Training nicht gesetzt ist</translation>
        </message>
        <message>
            <source>llama.cpp can't apply the adapter in {folder} without a merge: {reason}.</source>
            <translation>llama.cpp kann den Adapter in {folder} nicht ohne Zusammenführen anwenden: {reason}.</translation>
        </message>
        <message>
            <source>llama.cpp can't load it</source>
            <translation>llama.cpp kann sie nicht laden</translation>
        </message>
        <message>
            <source>llama.cpp can't read its vocabulary</source>
            <translation>llama.cpp kann ihr Vokabular nicht lesen</translation>
        </message>
        <message>
            <source>llama.cpp can't run this model: a size in its configuration isn't one that llama.cpp expects. Use the merged model with transformers or vLLM, or try a newer llama.cpp.</source>
            <translation>llama.cpp kann dieses Modell nicht ausführen: Eine Größe in seiner Konfiguration entspricht nicht dem, was llama.cpp erwartet. Nutze das zusammengeführte Modell mit transformers oder vLLM, oder versuche ein neueres llama.cpp.</translation>
        </message>
        <message>
            <source>llama.cpp can't write this type for this model</source>
            <translation>llama.cpp kann diesen Typ für dieses Modell nicht schreiben</translation>
        </message>
        <message>
            <source>llama.cpp failed to evaluate a conversation of {tokens} tokens (status {status:d}).</source>
            <translation>llama.cpp konnte ein Gespräch mit {tokens} Tokens nicht auswerten (Status {status:d}).</translation>
        </message>
        <message>
            <source>llama.cpp folder</source>
            <translation>llama.cpp-Ordner</translation>
        </message>
        <message>
            <source>llama.cpp in {folder}</source>
            <translation>llama.cpp in {folder}</translation>
        </message>
        <message>
            <source>llama.cpp keeps the reasoning of earlier answers in the prompt, and the chat template removes it in training</source>
            <translation>llama.cpp behält die Überlegungen früherer Antworten im Prompt, und die Chat-Vorlage entfernt sie im Training</translation>
        </message>
        <message>
            <source>llama.cpp on PATH ({file})</source>
            <translation>llama.cpp im PATH ({file})</translation>
        </message>
        <message>
            <source>llama.cpp programs</source>
            <translation>llama.cpp-Programme</translation>
        </message>
        <message>
            <source>llama.cpp removes white space around every message for chat templates like this one</source>
            <translation>llama.cpp entfernt bei Chat-Vorlagen wie dieser den Leerraum um jede Nachricht</translation>
        </message>
        <message>
            <source>llama.cpp renders this chat template differently from transformers</source>
            <translation>llama.cpp wertet diese Chat-Vorlage anders aus als transformers</translation>
        </message>
        <message>
            <source>llama.cpp runs the model differently, since the file has the trained values</source>
            <translation>llama.cpp führt das Modell anders aus, denn die Datei enthält die trainierten Werte</translation>
        </message>
        <message>
            <source>llama.cpp sets `enable_thinking` to true unless a request sets it, and training doesn't set it</source>
            <translation>llama.cpp setzt `enable_thinking` auf true, wenn eine Anfrage es nicht setzt, und das Training setzt es nicht</translation>
        </message>
        <message>
            <source>llama.cpp stopped while it evaluated {file}: {reason}.</source>
            <translation>llama.cpp ist beim Auswerten von {file} abgebrochen: {reason}.</translation>
        </message>
        <message>
            <source>llama.cpp writes the system message before the first question, because the chat template omits it</source>
            <translation>llama.cpp schreibt die Systemnachricht vor die erste Frage, weil die Chat-Vorlage sie weglässt</translation>
        </message>
        <message>
            <source>llama.cpp writes today's date where the chat template writes another one in training</source>
            <translation>llama.cpp schreibt das heutige Datum, wo die Chat-Vorlage im Training ein anderes schreibt</translation>
        </message>
        <message>
            <source>llama.cpp {build}, which is built in, supports it. Update the program to a release with this llama.cpp or a later one.</source>
            <translation>Das integrierte llama.cpp {build} unterstützt sie. Aktualisieren Sie das Programm auf eine Version mit diesem oder einem neueren llama.cpp.</translation>
        </message>
        <message>
            <source>llama.cpp's converter doesn't recognize the pre-tokenizer of this model ({name}), so a GGUF file would tokenize differently.</source>
            <translation>Der Konverter von llama.cpp kennt den Pre-Tokenizer dieses Modells nicht ({name}), eine GGUF-Datei würde daher anders tokenisieren.</translation>
        </message>
        <message>
            <source>llama.cpp's converter doesn't support the architecture {name}.</source>
            <translation>Der Konverter von llama.cpp unterstützt die Architektur {name} nicht.</translation>
        </message>
        <message>
            <source>llama.cpp's converter failed with status {status:d}.</source>
            <translation>Der Konverter von llama.cpp ist mit Status {status:d} fehlgeschlagen.</translation>
        </message>
        <message>
            <source>llama.cpp's converter failed: {reason}.</source>
            <translation>Der Konverter von llama.cpp ist fehlgeschlagen: {reason}.</translation>
        </message>
        <message>
            <source>llama.cpp's converter is missing from the engine.</source>
            <translation>Der Konverter von llama.cpp fehlt in der Engine.</translation>
        </message>
        <message>
            <source>lm-eval can't be loaded, because the package {package} is missing or damaged.</source>
            <translation>lm-eval kann nicht geladen werden, weil das Paket {package} fehlt oder beschädigt ist.</translation>
        </message>
        <message>
            <source>loading its tokenizer takes longer than {seconds:duration}</source>
            <translation>das Laden des Tokenizers dauert länger als {seconds:duration}</translation>
        </message>
        <message>
            <source>loading model with Unsloth</source>
            <translation>Modell mit Unsloth laden</translation>
        </message>
        <message>
            <source>loading the base model</source>
            <translation>Basismodell wird geladen</translation>
        </message>
        <message>
            <source>loading the checkpoint</source>
            <translation>Checkpoint laden</translation>
        </message>
        <message>
            <source>loading the model</source>
            <translation>Modell wird geladen</translation>
        </message>
        <message>
            <source>loading {benchmark}</source>
            <translation>{benchmark} wird geladen</translation>
        </message>
        <message>
            <source>looking at files</source>
            <translation>Dateien ansehen</translation>
        </message>
        <message>
            <source>looking for adapters</source>
            <translation>Adapter suchen</translation>
        </message>
        <message>
            <source>loss</source>
            <translation>Loss</translation>
        </message>
        <message>
            <source>loss (nats per token)</source>
            <translation>Loss (Nats je Token)</translation>
        </message>
        <message>
            <source>low confidence</source>
            <translation>unsicher</translation>
        </message>
        <message>
            <source>macro F1</source>
            <translation>Makro-F1</translation>
        </message>
        <message>
            <source>macro F1 (%)</source>
            <translation>Makro-F1 (%)</translation>
        </message>
        <message>
            <source>many turns</source>
            <translation>viele Wechsel</translation>
        </message>
        <message>
            <source>margin</source>
            <translation>Abstand</translation>
        </message>
        <message>
            <source>mean reward</source>
            <translation>mittlere Belohnung</translation>
        </message>
        <message>
            <source>media and settings of the cards</source>
            <translation>Medien und Einstellungen der Karten</translation>
        </message>
        <message>
            <source>medium confidence</source>
            <translation>wahrscheinlich</translation>
        </message>
        <message>
            <source>megabytes of it unpack to nothing</source>
            <translation>mehrere Megabyte davon ergeben entpackt nichts</translation>
        </message>
        <message>
            <source>memory</source>
            <translation>Speicher</translation>
        </message>
        <message>
            <source>memory (GiB)</source>
            <translation>Speicher (GiB)</translation>
        </message>
        <message>
            <source>memory ran out</source>
            <translation>Speicher reichte nicht</translation>
        </message>
        <message>
            <source>merges.txt or vocab.json</source>
            <translation>merges.txt oder vocab.json</translation>
        </message>
        <message>
            <source>merging and converting to GGUF</source>
            <translation>zusammenführen und in GGUF umwandeln</translation>
        </message>
        <message>
            <source>merging the weights</source>
            <translation>Gewichte werden zusammengeführt</translation>
        </message>
        <message>
            <source>merging with PEFT</source>
            <translation>mit PEFT zusammenführen</translation>
        </message>
        <message>
            <source>messages are rendered differently when their content has surrounding whitespace</source>
            <translation>Nachrichten werden anders gerendert, wenn ihr Inhalt von Leerraum umgeben ist</translation>
        </message>
        <message>
            <source>messages of bots ({count})</source>
            <translation>Nachrichten von Bots ({count})</translation>
        </message>
        <message>
            <source>messages without a sender ({count})</source>
            <translation>Nachrichten ohne Absender ({count})</translation>
        </message>
        <message>
            <source>micro-batches</source>
            <translation>Mikro-Batches</translation>
        </message>
        <message>
            <source>minimal</source>
            <translation>minimal</translation>
        </message>
        <message>
            <source>minutes</source>
            <translation>Minuten</translation>
        </message>
        <message>
            <source>missing</source>
            <translation>nicht vorhanden</translation>
        </message>
        <message>
            <source>mixtures of experts</source>
            <translation>Mixture-of-Experts-Modelle</translation>
        </message>
        <message>
            <source>models trained in 2 bits</source>
            <translation>in 2 Bit trainierte Modelle</translation>
        </message>
        <message>
            <source>multiple choice</source>
            <translation>Multiple Choice</translation>
        </message>
        <message>
            <source>name or organization/name</source>
            <translation>Name oder Organisation/Name</translation>
        </message>
        <message>
            <source>name:tag of the model to create. Leave empty for the project's name.</source>
            <translation>name:tag des anzulegenden Modells. Leer lassen für den Namen des Projekts.</translation>
        </message>
        <message>
            <source>negligible</source>
            <translation>vernachlässigbar</translation>
        </message>
        <message>
            <source>no</source>
            <translation>nein</translation>
        </message>
        <message>
            <source>no answer in the row is trained on</source>
            <translation>keine Antwort der Zeile wird trainiert</translation>
        </message>
        <message>
            <source>no disk is mounted at {folder}</source>
            <translation>unter {folder} ist kein Datenträger eingehängt</translation>
        </message>
        <message>
            <source>no messages of a channel</source>
            <translation>keine Nachrichten eines Kanals</translation>
        </message>
        <message>
            <source>no part of an answer is within the first {limit} tokens</source>
            <translation>kein Teil einer Antwort liegt in den ersten {limit} Tokens</translation>
        </message>
        <message>
            <source>no permission to open the folder</source>
            <translation>keine Berechtigung, den Ordner zu öffnen</translation>
        </message>
        <message>
            <source>no preferred response</source>
            <translation>keine bevorzugte Antwort</translation>
        </message>
        <message>
            <source>no reason was given</source>
            <translation>kein Grund angegeben</translation>
        </message>
        <message>
            <source>no template</source>
            <translation>keiner Vorlage</translation>
        </message>
        <message>
            <source>no verdict</source>
            <translation>kein Urteil</translation>
        </message>
        <message>
            <source>none</source>
            <translation>keine</translation>
        </message>
        <message>
            <source>none ({name} will be used)</source>
            <translation>keine ({name} wird verwendet)</translation>
        </message>
        <message>
            <source>norm</source>
            <translation>Norm</translation>
        </message>
        <message>
            <source>not a data file</source>
            <translation>keine Datendatei</translation>
        </message>
        <message>
            <source>not all {items} have the same form</source>
            <translation>nicht alle {items} haben dieselbe Form</translation>
        </message>
        <message>
            <source>not answered yet</source>
            <translation>noch nicht beantwortet</translation>
        </message>
        <message>
            <source>not available yet</source>
            <translation>noch nicht bekannt</translation>
        </message>
        <message>
            <source>not checked yet</source>
            <translation>noch nicht geprüft</translation>
        </message>
        <message>
            <source>not compared by value: {reason}</source>
            <translation>nicht Wert für Wert verglichen: {reason}</translation>
        </message>
        <message>
            <source>not complete yet</source>
            <translation>noch nicht vollständig</translation>
        </message>
        <message>
            <source>not enough memory for a context of {tokens} tokens</source>
            <translation>zu wenig Arbeitsspeicher für einen Kontext von {tokens} Tokens</translation>
        </message>
        <message>
            <source>not evaluated</source>
            <translation>nicht ausgewertet</translation>
        </message>
        <message>
            <source>not judged: {reason}</source>
            <translation>nicht bewertet: {reason}</translation>
        </message>
        <message>
            <source>not loaded yet</source>
            <translation>noch nicht geladen</translation>
        </message>
        <message>
            <source>not saved</source>
            <translation>nicht gespeichert</translation>
        </message>
        <message>
            <source>not selected</source>
            <translation>nicht ausgewählt</translation>
        </message>
        <message>
            <source>not specified</source>
            <translation>nicht angegeben</translation>
        </message>
        <message>
            <source>not supported</source>
            <translation>nicht unterstützt</translation>
        </message>
        <message>
            <source>not used</source>
            <translation>nicht verwendet</translation>
        </message>
        <message>
            <source>noticeable</source>
            <translation>merklich</translation>
        </message>
        <message>
            <source>notices such as joins and calls ({count})</source>
            <translation>Hinweise wie Beitritte und Anrufe ({count})</translation>
        </message>
        <message>
            <source>off</source>
            <translation>aus</translation>
        </message>
        <message>
            <source>older copy of the notes</source>
            <translation>ältere Kopie der Notizen</translation>
        </message>
        <message>
            <source>omitted: {feature}, because {reason}</source>
            <translation>weggelassen: {feature}, weil: {reason}</translation>
        </message>
        <message>
            <source>on</source>
            <translation>an</translation>
        </message>
        <message>
            <source>one of its module patterns is too long</source>
            <translation>eines seiner Modulmuster ist zu lang</translation>
        </message>
        <message>
            <source>one of the columns is shorter than the others</source>
            <translation>eine der Spalten ist kürzer als die anderen</translation>
        </message>
        <message>
            <source>one token spans the end of a question and the start of an answer</source>
            <translation>ein Token umfasst das Ende einer Frage und den Anfang einer Antwort</translation>
        </message>
        <message>
            <source>one token spans the end of an answer and the text after it</source>
            <translation>ein Token umfasst das Ende einer Antwort und den Text danach</translation>
        </message>
        <message>
            <source>only some conversations start with {bos}</source>
            <translation>nur manche Gespräche beginnen mit {bos}</translation>
        </message>
        <message>
            <source>only some tools have their parameters written</source>
            <translation>nur bei manchen Tools stehen die Parameter</translation>
        </message>
        <message>
            <source>only the first adapter can have new tokens, because its tokenizer is used</source>
            <translation>nur der erste Adapter kann neue Token haben, weil sein Tokenizer verwendet wird</translation>
        </message>
        <message>
            <source>optional</source>
            <translation>optional</translation>
        </message>
        <message>
            <source>optional parameters are not written like required ones</source>
            <translation>optionale Parameter werden anders geschrieben als erforderliche</translation>
        </message>
        <message>
            <source>org/name, for example HuggingFaceH4/no_robots</source>
            <translation>org/name, zum Beispiel HuggingFaceH4/no_robots</translation>
        </message>
        <message>
            <source>other files ({count})</source>
            <translation>andere Dateien ({count})</translation>
        </message>
        <message>
            <source>out of date</source>
            <translation>veraltet</translation>
        </message>
        <message>
            <source>paragraphs that answer no question ({count})</source>
            <translation>Absätze, die keine Frage beantworten ({count})</translation>
        </message>
        <message>
            <source>parameter</source>
            <translation>Parameter</translation>
        </message>
        <message>
            <source>parameters</source>
            <translation>Parameter</translation>
        </message>
        <message>
            <source>path</source>
            <translation>Pfad</translation>
        </message>
        <message>
            <source>paused</source>
            <translation>pausiert</translation>
        </message>
        <message>
            <source>pausing</source>
            <translation>wird pausiert</translation>
        </message>
        <message>
            <source>perplexity</source>
            <translation>Perplexität</translation>
        </message>
        <message>
            <source>photos ({count})</source>
            <translation>Fotos ({count})</translation>
        </message>
        <message>
            <source>plain text</source>
            <translation>Fließtext</translation>
        </message>
        <message>
            <source>polls, places, and contacts ({count})</source>
            <translation>Umfragen, Orte und Kontakte ({count})</translation>
        </message>
        <message>
            <source>posts of others that were shared ({count})</source>
            <translation>geteilte Beiträge anderer ({count})</translation>
        </message>
        <message>
            <source>practically none</source>
            <translation>praktisch keiner</translation>
        </message>
        <message>
            <source>preparing the optimizer</source>
            <translation>Optimizer vorbereiten</translation>
        </message>
        <message>
            <source>project.toml is damaged: {reason}.</source>
            <translation>project.toml ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>prompts with equal rewards</source>
            <translation>Prompts mit gleichen Belohnungen</translation>
        </message>
        <message>
            <source>questions are the names of their answers; each becomes one row</source>
            <translation>Fragen sind die Namen ihrer Antworten; jede wird zu einer Zeile</translation>
        </message>
        <message>
            <source>questions inside paragraphs become one row each, with their paragraph and its article</source>
            <translation>Fragen in Absätzen werden je eine Zeile, mit ihrem Absatz und dessen Artikel</translation>
        </message>
        <message>
            <source>rank {rank}</source>
            <translation>Rang {rank}</translation>
        </message>
        <message>
            <source>rating completions</source>
            <translation>Antworten bewerten</translation>
        </message>
        <message>
            <source>read {path}</source>
            <translation>{path} lesen</translation>
        </message>
        <message>
            <source>read-only</source>
            <translation>schreibgeschützt</translation>
        </message>
        <message>
            <source>read-only, not saved</source>
            <translation>schreibgeschützt, nicht gespeichert</translation>
        </message>
        <message>
            <source>reading comprehension</source>
            <translation>Leseverständnis</translation>
        </message>
        <message>
            <source>reading rows</source>
            <translation>Zeilen lesen</translation>
        </message>
        <message>
            <source>reading tensor shapes</source>
            <translation>Tensorformen werden gelesen</translation>
        </message>
        <message>
            <source>reading the data for EVA</source>
            <translation>Daten für EVA werden gelesen</translation>
        </message>
        <message>
            <source>reading the model file</source>
            <translation>Modelldatei wird gelesen</translation>
        </message>
        <message>
            <source>reading the test set</source>
            <translation>Testdaten lesen</translation>
        </message>
        <message>
            <source>reading the training rows</source>
            <translation>Trainingszeilen lesen</translation>
        </message>
        <message>
            <source>ready</source>
            <translation>bereit</translation>
        </message>
        <message>
            <source>reasoning</source>
            <translation>Überlegungen</translation>
        </message>
        <message>
            <source>reasoning (`thinking`)</source>
            <translation>Gedankengänge (`thinking`)</translation>
        </message>
        <message>
            <source>reasoning in a message with both an answer and tool calls</source>
            <translation>Überlegungen in einer Nachricht mit Antwort und Tool-Aufrufen</translation>
        </message>
        <message>
            <source>reasoning in a message with tool calls</source>
            <translation>Überlegungen in einer Nachricht mit Tool-Aufrufen</translation>
        </message>
        <message>
            <source>reasoning that a request turns off</source>
            <translation>Überlegungen, die eine Anfrage ausschaltet</translation>
        </message>
        <message>
            <source>reasoning that a request turns on</source>
            <translation>Überlegungen, die eine Anfrage einschaltet</translation>
        </message>
        <message>
            <source>recall@1</source>
            <translation>Recall@1</translation>
        </message>
        <message>
            <source>recall@1 (%)</source>
            <translation>Recall@1 (%)</translation>
        </message>
        <message>
            <source>recall@1 {one:percent}, @5 {five:percent}, @10 {ten:percent}, MRR {mrr:small}</source>
            <translation>Recall@1 {one:percent}, @5 {five:percent}, @10 {ten:percent}, MRR {mrr:small}</translation>
        </message>
        <message>
            <source>recall@10</source>
            <translation>Recall@10</translation>
        </message>
        <message>
            <source>recall@10 (%)</source>
            <translation>Recall@10 (%)</translation>
        </message>
        <message>
            <source>recall@5</source>
            <translation>Recall@5</translation>
        </message>
        <message>
            <source>recall@5 (%)</source>
            <translation>Recall@5 (%)</translation>
        </message>
        <message>
            <source>refusing nonsense</source>
            <translation>Ablehnen von Unsinn</translation>
        </message>
        <message>
            <source>results in a different order than their calls</source>
            <translation>Ergebnisse in anderer Reihenfolge als ihre Aufrufe</translation>
        </message>
        <message>
            <source>resumed</source>
            <translation>fortgesetzt</translation>
        </message>
        <message>
            <source>reward accuracy</source>
            <translation>Reward-Genauigkeit</translation>
        </message>
        <message>
            <source>reward accuracy (%)</source>
            <translation>Reward-Genauigkeit (%)</translation>
        </message>
        <message>
            <source>reward margin</source>
            <translation>Reward-Abstand</translation>
        </message>
        <message>
            <source>reward spread</source>
            <translation>Streuung der Belohnung</translation>
        </message>
        <message>
            <source>reward training</source>
            <translation>Training mit Belohnungen</translation>
        </message>
        <message>
            <source>right</source>
            <translation>richtig</translation>
        </message>
        <message>
            <source>right-to-left text</source>
            <translation>Text von rechts nach links</translation>
        </message>
        <message>
            <source>rounding to {dtype} changes the adapter's updates by {share:percent} and alone costs {nats:.2g} nats</source>
            <translation>das Runden auf {dtype} verändert die Änderungen durch den Adapter um {share:percent} und kostet allein {nats:.2g} Nats</translation>
        </message>
        <message>
            <source>row {row}</source>
            <translation>Zeile {row}</translation>
        </message>
        <message>
            <source>rows</source>
            <translation>Zeilen</translation>
        </message>
        <message>
            <source>rsLoRA, rank 64</source>
            <translation>rsLoRA, Rang 64</translation>
        </message>
        <message>
            <source>running</source>
            <translation>läuft</translation>
        </message>
        <message>
            <source>saved</source>
            <translation>gespeichert</translation>
        </message>
        <message>
            <source>saving a checkpoint</source>
            <translation>Checkpoint speichern</translation>
        </message>
        <message>
            <source>saving the adapter</source>
            <translation>Adapter speichern</translation>
        </message>
        <message>
            <source>saving the initial state</source>
            <translation>Anfangszustand speichern</translation>
        </message>
        <message>
            <source>saving the merged model</source>
            <translation>zusammengeführtes Modell speichern</translation>
        </message>
        <message>
            <source>searching rows</source>
            <translation>Zeilen suchen</translation>
        </message>
        <message>
            <source>searching the Hub</source>
            <translation>Hub wird durchsucht</translation>
        </message>
        <message>
            <source>seconds</source>
            <translation>Sekunden</translation>
        </message>
        <message>
            <source>selected by you</source>
            <translation>von Ihnen gewählt</translation>
        </message>
        <message>
            <source>self-test: answers of {stage}</source>
            <translation>Selbsttest: Antworten von {stage}</translation>
        </message>
        <message>
            <source>self-test: {stage}</source>
            <translation>Selbsttest: {stage}</translation>
        </message>
        <message>
            <source>send questions to {address}</source>
            <translation>Fragen an {address} senden</translation>
        </message>
        <message>
            <source>send the value of the environment variable {variable} to {address}</source>
            <translation>den Wert der Umgebungsvariablen {variable} an {address} senden</translation>
        </message>
        <message>
            <source>settings, not rows</source>
            <translation>Einstellungen, keine Zeilen</translation>
        </message>
        <message>
            <source>several adapters are merged and one of them is a DoRA adapter</source>
            <translation>mehrere Adapter werden zusammengeführt und einer davon ist ein DoRA-Adapter</translation>
        </message>
        <message>
            <source>several rows have the ID of its parent row</source>
            <translation>mehrere Zeilen haben die ID der Zeile davor</translation>
        </message>
        <message>
            <source>several tool calls in one message</source>
            <translation>mehrere Tool-Aufrufe in einer Nachricht</translation>
        </message>
        <message>
            <source>short answers</source>
            <translation>kurze Antworten</translation>
        </message>
        <message>
            <source>small</source>
            <translation>klein</translation>
        </message>
        <message>
            <source>small (most popular)</source>
            <translation>klein (am beliebtesten)</translation>
        </message>
        <message>
            <source>smoothed</source>
            <translation>geglättet</translation>
        </message>
        <message>
            <source>special</source>
            <translation>Spezialtokens</translation>
        </message>
        <message>
            <source>splitting the rows</source>
            <translation>Zeilen aufteilen</translation>
        </message>
        <message>
            <source>spread</source>
            <translation>Streuung</translation>
        </message>
        <message>
            <source>starting PyTorch</source>
            <translation>PyTorch starten</translation>
        </message>
        <message>
            <source>starting the other processes</source>
            <translation>andere Prozesse starten</translation>
        </message>
        <message>
            <source>step</source>
            <translation>Schritt</translation>
        </message>
        <message>
            <source>step {step:d} of {steps:d}: loss {loss:.4f}, {speed:.0f} tokens/s</source>
            <translation>Schritt {step:d} von {steps:d}: Loss {loss:.4f}, {speed:.0f} Tokens/s</translation>
        </message>
        <message>
            <source>step {step:d} of {steps:d}: mean reward {reward:.4f}, {speed:.0f} tokens/s</source>
            <translation>Schritt {step:d} von {steps:d}: mittlere Belohnung {reward:.4f}, {speed:.0f} Token/s</translation>
        </message>
        <message>
            <source>step {step:d}: eval loss {loss:.4f}</source>
            <translation>Schritt {step:d}: Eval-Loss {loss:.4f}</translation>
        </message>
        <message>
            <source>step {step:d}: eval reward {reward:.4f}</source>
            <translation>Schritt {step:d}: Eval-Belohnung {reward:.4f}</translation>
        </message>
        <message>
            <source>step {step:d}: no completion has a reward</source>
            <translation>Schritt {step:d}: keine Antwort hat eine Belohnung</translation>
        </message>
        <message>
            <source>step {step:d}: saved {folder}</source>
            <translation>Schritt {step:d}: {folder} gespeichert</translation>
        </message>
        <message>
            <source>step {step}</source>
            <translation>Schritt {step}</translation>
        </message>
        <message>
            <source>step {step} of {steps}</source>
            <translation>Schritt {step} von {steps}</translation>
        </message>
        <message>
            <source>step {step}: eval loss {loss}</source>
            <translation>Schritt {step}: Eval-Loss {loss}</translation>
        </message>
        <message>
            <source>step {step}: eval reward {reward}</source>
            <translation>Schritt {step}: Eval-Belohnung {reward}</translation>
        </message>
        <message>
            <source>step {step}: no completion has a reward</source>
            <translation>Schritt {step}: keine Antwort hat eine Belohnung</translation>
        </message>
        <message>
            <source>steps</source>
            <translation>Schritte</translation>
        </message>
        <message>
            <source>stickers and GIFs ({count})</source>
            <translation>Sticker und GIFs ({count})</translation>
        </message>
        <message>
            <source>still reading…</source>
            <translation>wird noch gelesen…</translation>
        </message>
        <message>
            <source>stop string</source>
            <translation>Stoppzeichenfolge</translation>
        </message>
        <message>
            <source>stopped</source>
            <translation>angehalten</translation>
        </message>
        <message>
            <source>stopped; the adapter is saved</source>
            <translation>beendet; der Adapter ist gespeichert</translation>
        </message>
        <message>
            <source>stopping</source>
            <translation>endet</translation>
        </message>
        <message>
            <source>system</source>
            <translation>System</translation>
        </message>
        <message>
            <source>system messages in the middle of a conversation</source>
            <translation>Systemnachrichten mitten im Gespräch</translation>
        </message>
        <message>
            <source>system prompt</source>
            <translation>System-Prompt</translation>
        </message>
        <message>
            <source>task gain (points)</source>
            <translation>Gewinn bei der Aufgabe (Punkte)</translation>
        </message>
        <message>
            <source>temperature {temperature}, seed {seed}</source>
            <translation>Temperatur {temperature}, Seed {seed}</translation>
        </message>
        <message>
            <source>ternary models</source>
            <translation>ternäre Modelle</translation>
        </message>
        <message>
            <source>testing the largest micro-batch</source>
            <translation>Größten Mikro-Batch testen</translation>
        </message>
        <message>
            <source>testing the new model in Ollama</source>
            <translation>Neues Modell wird in Ollama getestet</translation>
        </message>
        <message>
            <source>the GGUF file has no chat template</source>
            <translation>die GGUF-Datei hat keine Chat-Vorlage</translation>
        </message>
        <message>
            <source>the ID of a new token is far beyond the model's vocabulary</source>
            <translation>die ID eines neuen Tokens liegt weit außerhalb des Vokabulars des Modells</translation>
        </message>
        <message>
            <source>the IDs of tool calls</source>
            <translation>die IDs der Tool-Aufrufe</translation>
        </message>
        <message>
            <source>the TEMPLATE</source>
            <translation>das TEMPLATE</translation>
        </message>
        <message>
            <source>the TEMPLATE is different: {details}</source>
            <translation>das TEMPLATE weicht ab: {details}</translation>
        </message>
        <message>
            <source>the TEMPLATE supports what the chat template does</source>
            <translation>das TEMPLATE unterstützt dasselbe wie die Chat-Vorlage</translation>
        </message>
        <message>
            <source>the activity is not a prompt with its answer</source>
            <translation>die Aktivität ist kein Prompt mit Antwort</translation>
        </message>
        <message>
            <source>the adapter was not merged: these are the base model's weights</source>
            <translation>der Adapter wurde nicht zusammengeführt: das sind die Gewichte des Basismodells</translation>
        </message>
        <message numerus="yes">
            <source>the adapter's updates are missing from {n} tensors</source>
            <translation>
                <numerusform>in {n} Tensor fehlt die Änderung des Adapters</numerusform>
                <numerusform>in {n} Tensoren fehlen die Änderungen des Adapters</numerusform>
            </translation>
        </message>
        <message>
            <source>the answer has an unexpected form</source>
            <translation>die Antwort hat eine unerwartete Form</translation>
        </message>
        <message>
            <source>the answer in “{slot}” is empty</source>
            <translation>die Antwort in „{slot}“ ist leer</translation>
        </message>
        <message>
            <source>the answer is empty</source>
            <translation>die Antwort ist leer</translation>
        </message>
        <message>
            <source>the answer was cut off or filtered before its end</source>
            <translation>die Antwort wurde vor ihrem Ende abgeschnitten oder gefiltert</translation>
        </message>
        <message>
            <source>the answers aren't text</source>
            <translation>die Antworten sind kein Text</translation>
        </message>
        <message>
            <source>the arguments of a tool call are not an object</source>
            <translation>die Argumente eines Tool-Aufrufs sind kein Objekt</translation>
        </message>
        <message>
            <source>the arguments of tool calls</source>
            <translation>die Argumente der Tool-Aufrufe</translation>
        </message>
        <message>
            <source>the base model's files don't contain the parameters of {module}</source>
            <translation>die Dateien des Basismodells enthalten die Parameter von {module} nicht</translation>
        </message>
        <message>
            <source>the base model's files don't contain {tensor}</source>
            <translation>die Dateien des Basismodells enthalten {tensor} nicht</translation>
        </message>
        <message>
            <source>the call IDs of results</source>
            <translation>die Aufruf-IDs der Ergebnisse</translation>
        </message>
        <message>
            <source>the card has no answer</source>
            <translation>die Karte hat keine Antwort</translation>
        </message>
        <message>
            <source>the card has no text</source>
            <translation>die Karte hat keinen Text</translation>
        </message>
        <message>
            <source>the character map of its tokenizer is damaged</source>
            <translation>die Zeichentabelle des Tokenizers ist beschädigt</translation>
        </message>
        <message>
            <source>the chat template</source>
            <translation>die Chat-Vorlage</translation>
        </message>
        <message>
            <source>the chat template changes the text of an answer</source>
            <translation>die Chat-Vorlage ändert den Text einer Antwort</translation>
        </message>
        <message>
            <source>the chat template doesn't compile: {error}</source>
            <translation>die Chat-Vorlage lässt sich nicht kompilieren: {error}</translation>
        </message>
        <message>
            <source>the chat template doesn't support tool calls</source>
            <translation>die Chat-Vorlage unterstützt keine Tool-Aufrufe</translation>
        </message>
        <message>
            <source>the chat template doesn't support tool results</source>
            <translation>die Chat-Vorlage unterstützt keine Tool-Ergebnisse</translation>
        </message>
        <message>
            <source>the chat template ends an answer differently in the middle of a chat</source>
            <translation>die Chat-Vorlage beendet eine Antwort mitten im Chat anders</translation>
        </message>
        <message>
            <source>the chat template fails on the conversation: {error}</source>
            <translation>die Chat-Vorlage scheitert an dem Gespräch: {error}</translation>
        </message>
        <message>
            <source>the chat template fails with the thinking switch: {error}</source>
            <translation>die Chat-Vorlage scheitert mit dem Denkschalter: {error}</translation>
        </message>
        <message>
            <source>the chat template in the GGUF file</source>
            <translation>der Chat-Vorlage in der GGUF-Datei</translation>
        </message>
        <message>
            <source>the chat template in the GGUF file isn't the folder's</source>
            <translation>die Chat-Vorlage in der GGUF-Datei ist nicht die des Ordners</translation>
        </message>
        <message>
            <source>the chat template omits a question</source>
            <translation>die Chat-Vorlage lässt eine Frage weg</translation>
        </message>
        <message>
            <source>the chat template omits a single user message</source>
            <translation>die Chat-Vorlage lässt eine einzelne Nutzernachricht weg</translation>
        </message>
        <message>
            <source>the chat template omits a system message</source>
            <translation>die Chat-Vorlage lässt eine Systemnachricht weg</translation>
        </message>
        <message>
            <source>the chat template omits a tool call</source>
            <translation>die Chat-Vorlage lässt einen Tool-Aufruf weg</translation>
        </message>
        <message>
            <source>the chat template omits a tool result</source>
            <translation>die Chat-Vorlage lässt ein Tool-Ergebnis weg</translation>
        </message>
        <message>
            <source>the chat template omits an answer</source>
            <translation>die Chat-Vorlage lässt eine Antwort weg</translation>
        </message>
        <message>
            <source>the chat template omits one of several tool calls</source>
            <translation>die Chat-Vorlage lässt einen von mehreren Tool-Aufrufen weg</translation>
        </message>
        <message>
            <source>the chat template omits the arguments of a tool call</source>
            <translation>die Chat-Vorlage lässt die Argumente eines Tool-Aufrufs weg</translation>
        </message>
        <message>
            <source>the chat template omits the list of tools</source>
            <translation>die Chat-Vorlage lässt die Liste der Tools weg</translation>
        </message>
        <message>
            <source>the chat template omits the reasoning before an answer</source>
            <translation>die Chat-Vorlage lässt die Überlegungen vor einer Antwort weg</translation>
        </message>
        <message>
            <source>the chat template omits the reasoning of the last answer</source>
            <translation>die Chat-Vorlage lässt die Überlegungen der letzten Antwort weg</translation>
        </message>
        <message>
            <source>the chat template rejects a conversation without a system message: {error}</source>
            <translation>die Chat-Vorlage lehnt ein Gespräch ohne Systemnachricht ab: {error}</translation>
        </message>
        <message>
            <source>the chat template rejects a single user message: {error}</source>
            <translation>die Chat-Vorlage lehnt eine einzelne Nutzernachricht ab: {error}</translation>
        </message>
        <message>
            <source>the chat template rejects the conversation “{shape}”: {error}</source>
            <translation>die Chat-Vorlage lehnt das Gespräch „{shape}“ ab: {error}</translation>
        </message>
        <message>
            <source>the chat template rejects the conversation: {error}</source>
            <translation>die Chat-Vorlage lehnt das Gespräch ab: {error}</translation>
        </message>
        <message>
            <source>the chat template supports more than the TEMPLATE (tools or thinking)</source>
            <translation>die Chat-Vorlage unterstützt mehr als das TEMPLATE (Werkzeuge oder Denken)</translation>
        </message>
        <message>
            <source>the chat template writes a tool call in more than one place</source>
            <translation>die Chat-Vorlage schreibt einen Tool-Aufruf an mehr als eine Stelle</translation>
        </message>
        <message>
            <source>the chat template writes an answer twice</source>
            <translation>die Chat-Vorlage schreibt eine Antwort zweimal</translation>
        </message>
        <message>
            <source>the chat template writes the prompt differently once it is answered</source>
            <translation>die Chat-Vorlage schreibt den Prompt anders, sobald er beantwortet ist</translation>
        </message>
        <message>
            <source>the checksum of {file} is unreadable</source>
            <translation>die Prüfsumme von {file} ist unlesbar</translation>
        </message>
        <message>
            <source>the connection ended after {done:size} of {size:size}</source>
            <translation>die Verbindung brach nach {done:size} von {size:size} ab</translation>
        </message>
        <message>
            <source>the content of a user message is omitted</source>
            <translation>der Inhalt einer Nutzernachricht fehlt</translation>
        </message>
        <message>
            <source>the conversation has no answer by “{name}”</source>
            <translation>die Unterhaltung enthält keine Antwort von „{name}“</translation>
        </message>
        <message>
            <source>the date format {form} contains {directive}, and a TEMPLATE only knows the date as YYYY-MM-DD</source>
            <translation>das Datumsformat {form} enthält {directive}, ein TEMPLATE kennt das Datum aber nur als JJJJ-MM-TT</translation>
        </message>
        <message>
            <source>the derived TEMPLATE is invalid: {error}</source>
            <translation>das abgeleitete TEMPLATE ist ungültig: {error}</translation>
        </message>
        <message>
            <source>the description of the tensor {name} is invalid</source>
            <translation>die Beschreibung des Tensors {name} ist ungültig</translation>
        </message>
        <message>
            <source>the file can't be read ({reason})</source>
            <translation>die Datei ist nicht lesbar ({reason})</translation>
        </message>
        <message>
            <source>the file has the same values as a fresh quantization of what was trained, so this is the loss of the quantization itself</source>
            <translation>die Datei hat dieselben Werte wie eine neue Quantisierung des trainierten Modells, also ist das der Verlust durch die Quantisierung selbst</translation>
        </message>
        <message>
            <source>the file is missing</source>
            <translation>die Datei fehlt</translation>
        </message>
        <message>
            <source>the file is truncated</source>
            <translation>die Datei ist unvollständig</translation>
        </message>
        <message>
            <source>the file is truncated: it has {actual} of {expected} bytes</source>
            <translation>die Datei ist unvollständig: sie hat {actual} von {expected} Bytes</translation>
        </message>
        <message>
            <source>the filter {name}</source>
            <translation>der Filter {name}</translation>
        </message>
        <message>
            <source>the format of the source is unknown</source>
            <translation>das Format der Quelle ist unbekannt</translation>
        </message>
        <message>
            <source>the header is longer than the file</source>
            <translation>der Header ist länger als die Datei</translation>
        </message>
        <message>
            <source>the header is too long</source>
            <translation>der Header ist zu lang</translation>
        </message>
        <message>
            <source>the header of an entry is too large</source>
            <translation>der Kopf eines Eintrags ist zu groß</translation>
        </message>
        <message>
            <source>the history is not a list of pairs</source>
            <translation>der Verlauf ist keine Liste von Paaren</translation>
        </message>
        <message>
            <source>the initial values of the adapter weren't saved</source>
            <translation>die Anfangswerte des Adapters wurden nicht gespeichert</translation>
        </message>
        <message>
            <source>the label has more than {limit} characters</source>
            <translation>das Label hat mehr als {limit} Zeichen</translation>
        </message>
        <message>
            <source>the label is neither good nor bad</source>
            <translation>das Label ist weder gut noch schlecht</translation>
        </message>
        <message>
            <source>the label is neither text nor a whole number</source>
            <translation>das Label ist weder Text noch eine ganze Zahl</translation>
        </message>
        <message>
            <source>the list of tools</source>
            <translation>die Liste der Tools</translation>
        </message>
        <message>
            <source>the lists in its header have more than {limit:number} values</source>
            <translation>die Listen im Header haben mehr als {limit:number} Werte</translation>
        </message>
        <message>
            <source>the messages are written in a different order</source>
            <translation>die Nachrichten stehen in anderer Reihenfolge</translation>
        </message>
        <message>
            <source>the method {name}</source>
            <translation>die Methode {name}</translation>
        </message>
        <message>
            <source>the model doesn't have {tensor}</source>
            <translation>das Modell hat kein {tensor}</translation>
        </message>
        <message>
            <source>the model has a tokenizer written in Python</source>
            <translation>das Modell hat einen in Python geschriebenen Tokenizer</translation>
        </message>
        <message>
            <source>the model has no TEMPLATE</source>
            <translation>das Modell hat kein TEMPLATE</translation>
        </message>
        <message>
            <source>the model has no template</source>
            <translation>das Modell hat keine Vorlage</translation>
        </message>
        <message>
            <source>the model was created with the renderer {renderer}</source>
            <translation>das Modell wurde mit dem Renderer {renderer} angelegt</translation>
        </message>
        <message>
            <source>the model's embedding or output layer has no rows of plain numbers</source>
            <translation>die Einbettungs- oder Ausgabeschicht des Modells hat keine unquantisierten Zeilen</translation>
        </message>
        <message>
            <source>the model's tokenizer still splits it</source>
            <translation>der Tokenizer des Modells zerlegt es weiterhin</translation>
        </message>
        <message>
            <source>the module pattern “{pattern}” could take very long</source>
            <translation>das Modulmuster „{pattern}“ könnte sehr lange rechnen</translation>
        </message>
        <message>
            <source>the module pattern “{pattern}” is invalid</source>
            <translation>das Modulmuster „{pattern}“ ist ungültig</translation>
        </message>
        <message>
            <source>the name “{name}” wasn't found</source>
            <translation>der Name „{name}“ wurde nicht gefunden</translation>
        </message>
        <message>
            <source>the number of ratings differs from the number of answers</source>
            <translation>die Anzahl der Bewertungen stimmt nicht mit der Anzahl der Antworten überein</translation>
        </message>
        <message>
            <source>the only row checked</source>
            <translation>der einzigen geprüften Zeile</translation>
        </message>
        <message>
            <source>the paragraph has no question</source>
            <translation>der Absatz hat keine Frage</translation>
        </message>
        <message>
            <source>the parser</source>
            <translation>der Parser</translation>
        </message>
        <message>
            <source>the part already downloaded belongs to a different file</source>
            <translation>der schon heruntergeladene Teil gehört zu einer anderen Datei</translation>
        </message>
        <message>
            <source>the prompt has no answer</source>
            <translation>der Prompt hat keine Antwort</translation>
        </message>
        <message>
            <source>the prompt is empty</source>
            <translation>der Prompt ist leer</translation>
        </message>
        <message>
            <source>the prompt leaves no room for an answer within {limit} tokens</source>
            <translation>der Prompt lässt innerhalb von {limit} Tokens keinen Platz für eine Antwort</translation>
        </message>
        <message>
            <source>the query and the passage are the same</source>
            <translation>Suchanfrage und Text sind gleich</translation>
        </message>
        <message>
            <source>the question has no answer</source>
            <translation>die Frage hat keine Antwort</translation>
        </message>
        <message>
            <source>the question is a list of conversations</source>
            <translation>die Frage ist eine Liste von Gesprächen</translation>
        </message>
        <message>
            <source>the question is empty</source>
            <translation>die Frage ist leer</translation>
        </message>
        <message>
            <source>the reasoning of earlier answers</source>
            <translation>die Überlegungen früherer Antworten</translation>
        </message>
        <message>
            <source>the renderer</source>
            <translation>der Renderer</translation>
        </message>
        <message>
            <source>the row contains a NUL byte</source>
            <translation>die Zeile enthält ein NUL-Byte</translation>
        </message>
        <message>
            <source>the row contains an image, audio, or video</source>
            <translation>die Zeile enthält Bild, Ton oder Video</translation>
        </message>
        <message>
            <source>the row contains no answer</source>
            <translation>die Zeile enthält keine Antwort</translation>
        </message>
        <message>
            <source>the row contains no list of messages</source>
            <translation>die Zeile enthält keine Liste von Nachrichten</translation>
        </message>
        <message>
            <source>the row contradicts itself or another row</source>
            <translation>die Zeile widerspricht sich oder einer anderen Zeile</translation>
        </message>
        <message>
            <source>the row doesn't say which response is preferred</source>
            <translation>die Zeile sagt nicht, welche Antwort bevorzugt wird</translation>
        </message>
        <message>
            <source>the row duplicates an earlier row</source>
            <translation>die Zeile ist ein Duplikat einer früheren Zeile</translation>
        </message>
        <message>
            <source>the row excludes all of its answers from training</source>
            <translation>die Zeile nimmt alle ihre Antworten vom Training aus</translation>
        </message>
        <message>
            <source>the row excludes all of its text from training</source>
            <translation>die Zeile nimmt ihren ganzen Text vom Training aus</translation>
        </message>
        <message>
            <source>the row has a number with more than {limit} digits</source>
            <translation>die Zeile enthält eine Zahl mit mehr als {limit} Ziffern</translation>
        </message>
        <message>
            <source>the row has a value that can't be read</source>
            <translation>die Zeile enthält einen Wert, der sich nicht lesen lässt</translation>
        </message>
        <message>
            <source>the row has a value that can't be written as JSON</source>
            <translation>die Zeile enthält einen Wert, der sich nicht als JSON schreiben lässt</translation>
        </message>
        <message>
            <source>the row has fewer cells than the header</source>
            <translation>die Zeile hat weniger Zellen als die Kopfzeile</translation>
        </message>
        <message>
            <source>the row has more cells than the header</source>
            <translation>die Zeile hat mehr Zellen als die Kopfzeile</translation>
        </message>
        <message>
            <source>the row has more than {limit} tokens</source>
            <translation>die Zeile hat mehr als {limit} Tokens</translation>
        </message>
        <message>
            <source>the row has more than {limit} turns</source>
            <translation>die Zeile hat mehr als {limit} Beiträge</translation>
        </message>
        <message>
            <source>the row has more than {limit} values</source>
            <translation>die Zeile hat mehr als {limit} Werte</translation>
        </message>
        <message>
            <source>the row has several labels, so its label is neither text nor a whole number</source>
            <translation>die Zeile hat mehrere Labels, ihr Label ist also weder Text noch eine ganze Zahl</translation>
        </message>
        <message>
            <source>the row is a Python literal or has extra commas; it is read anyway</source>
            <translation>die Zeile ist ein Python-Literal oder hat überzählige Kommas; sie wird trotzdem gelesen</translation>
        </message>
        <message>
            <source>the row is a bare list of turns, which is read as a conversation</source>
            <translation>die Zeile ist nur eine Liste von Beiträgen und wird als Gespräch gelesen</translation>
        </message>
        <message>
            <source>the row is also in the validation data</source>
            <translation>die Zeile ist auch in den Validierungsdaten</translation>
        </message>
        <message>
            <source>the row is extremely long</source>
            <translation>die Zeile ist extrem lang</translation>
        </message>
        <message>
            <source>the row is larger than {limit:size}</source>
            <translation>die Zeile ist größer als {limit:size}</translation>
        </message>
        <message>
            <source>the row is nested too deeply</source>
            <translation>die Zeile ist zu tief verschachtelt</translation>
        </message>
        <message>
            <source>the row is not a JSON object</source>
            <translation>die Zeile ist kein JSON-Objekt</translation>
        </message>
        <message>
            <source>the row is not an object</source>
            <translation>die Zeile ist kein Objekt</translation>
        </message>
        <message>
            <source>the row is not valid JSON</source>
            <translation>die Zeile ist kein gültiges JSON</translation>
        </message>
        <message>
            <source>the row is not valid {encoding}</source>
            <translation>die Zeile ist kein gültiges {encoding}</translation>
        </message>
        <message>
            <source>the row lacks the columns that this format needs</source>
            <translation>der Zeile fehlen die Spalten, die dieses Format braucht</translation>
        </message>
        <message>
            <source>the row masks parts of an answer in an unknown notation</source>
            <translation>die Zeile maskiert Teile einer Antwort in einer unbekannten Schreibweise</translation>
        </message>
        <message>
            <source>the row masks parts of its reasoning, which is not supported</source>
            <translation>die Zeile maskiert Teile ihrer Überlegungen; das wird nicht unterstützt</translation>
        </message>
        <message>
            <source>the row nearly duplicates an earlier row</source>
            <translation>die Zeile ist fast ein Duplikat einer früheren Zeile</translation>
        </message>
        <message>
            <source>the row's columns differ from those of most rows</source>
            <translation>die Zeile hat andere Spalten als die meisten Zeilen</translation>
        </message>
        <message>
            <source>the rows of its article repeat too much text</source>
            <translation>die Zeilen dieses Artikels wiederholen zu viel Text</translation>
        </message>
        <message>
            <source>the rows of its new tokens don't match its settings</source>
            <translation>die Zeilen seiner neuen Token passen nicht zu seinen Einstellungen</translation>
        </message>
        <message>
            <source>the rows of new tokens can't be weighted</source>
            <translation>die Zeilen neuer Token lassen sich nicht gewichten</translation>
        </message>
        <message>
            <source>the rows of new tokens can't be weighted or added up</source>
            <translation>die Zeilen neuer Token lassen sich weder gewichten noch addieren</translation>
        </message>
        <message>
            <source>the rules for models of type {type} aren't known</source>
            <translation>die Regeln für Modelle vom Typ {type} sind nicht bekannt</translation>
        </message>
        <message>
            <source>the run no longer exists</source>
            <translation>der Lauf existiert nicht mehr</translation>
        </message>
        <message>
            <source>the same user message twice</source>
            <translation>zweimal dieselbe Nutzernachricht</translation>
        </message>
        <message>
            <source>the server</source>
            <translation>dem Server</translation>
        </message>
        <message>
            <source>the server doesn't count the tokens of prompts</source>
            <translation>der Server zählt die Token der Prompts nicht</translation>
        </message>
        <message>
            <source>the server doesn't respond</source>
            <translation>der Server antwortet nicht</translation>
        </message>
        <message>
            <source>the server found no template</source>
            <translation>der Server hat keine Vorlage gefunden</translation>
        </message>
        <message>
            <source>the server sends more than the {size:size} it announced</source>
            <translation>der Server sendet mehr als die angekündigten {size:size}</translation>
        </message>
        <message>
            <source>the server sends too slowly</source>
            <translation>der Server sendet zu langsam</translation>
        </message>
        <message>
            <source>the server shows that it selected it</source>
            <translation>der Server zeigt, dass er sie gewählt hat</translation>
        </message>
        <message>
            <source>the server starts with {bos}, the chat template doesn't</source>
            <translation>der Server beginnt mit {bos}, die Chat-Vorlage nicht</translation>
        </message>
        <message>
            <source>the server takes too long to answer</source>
            <translation>der Server antwortet zu langsam</translation>
        </message>
        <message>
            <source>the server's answer is larger than {limit:size}</source>
            <translation>die Antwort des Servers ist größer als {limit:size}</translation>
        </message>
        <message>
            <source>the server's list has no end</source>
            <translation>die Liste des Servers hat kein Ende</translation>
        </message>
        <message>
            <source>the setting {name} has {count:d} items, more than {limit:d}</source>
            <translation>die Einstellung {name} hat {count:d} Einträge, mehr als {limit:d}</translation>
        </message>
        <message>
            <source>the setting {name} is invalid</source>
            <translation>die Einstellung {name} ist ungültig</translation>
        </message>
        <message>
            <source>the stop string {token} cuts answers short</source>
            <translation>der Stopptext {token} schneidet Antworten ab</translation>
        </message>
        <message>
            <source>the stop strings</source>
            <translation>die Stoppfolgen</translation>
        </message>
        <message>
            <source>the system message</source>
            <translation>die Systemnachricht</translation>
        </message>
        <message>
            <source>the system prompt</source>
            <translation>der System-Prompt</translation>
        </message>
        <message>
            <source>the system prompt is {actual} instead of {expected}</source>
            <translation>der System-Prompt ist {actual} statt {expected}</translation>
        </message>
        <message>
            <source>the template's own markers in a message</source>
            <translation>die eigenen Markierungen der Vorlage in einer Nachricht</translation>
        </message>
        <message>
            <source>the tensor {name}</source>
            <translation>der Tensor {name}</translation>
        </message>
        <message>
            <source>the text around a tool depends on its parameters</source>
            <translation>der Text um ein Tool hängt von dessen Parametern ab</translation>
        </message>
        <message>
            <source>the text contains an incomplete character (a lone surrogate)</source>
            <translation>der Text enthält ein unvollständiges Zeichen (ein einzelnes Surrogat)</translation>
        </message>
        <message>
            <source>the text has lost characters</source>
            <translation>im Text sind Zeichen verloren gegangen</translation>
        </message>
        <message>
            <source>the text is a single token</source>
            <translation>der Text ist ein einziges Token</translation>
        </message>
        <message>
            <source>the text is empty</source>
            <translation>der Text ist leer</translation>
        </message>
        <message>
            <source>the thinking switch</source>
            <translation>der Schalter für Überlegungen</translation>
        </message>
        <message>
            <source>the token ID {id:d} is too large</source>
            <translation>die Token-ID {id:d} ist zu groß</translation>
        </message>
        <message>
            <source>the token {token} has no valid ID</source>
            <translation>das Token {token} hat keine gültige ID</translation>
        </message>
        <message>
            <source>the tool calls are not a list</source>
            <translation>die Tool-Aufrufe sind keine Liste</translation>
        </message>
        <message>
            <source>the tool names of results</source>
            <translation>die Tool-Namen der Ergebnisse</translation>
        </message>
        <message>
            <source>the tools are not a list of function descriptions</source>
            <translation>die Tools sind keine Liste von Funktionsbeschreibungen</translation>
        </message>
        <message>
            <source>the turns are out of order</source>
            <translation>die Beiträge stehen in falscher Reihenfolge</translation>
        </message>
        <message>
            <source>the two templates write different texts</source>
            <translation>die beiden Vorlagen schreiben verschiedene Texte</translation>
        </message>
        <message>
            <source>the update of {module} has rank {rank:d}, but its settings say {expected:d}</source>
            <translation>die Änderung von {module} hat den Rang {rank:d}, laut den Einstellungen aber {expected:d}</translation>
        </message>
        <message>
            <source>the updates were merged at {factor:.2f} times their scale</source>
            <translation>die Updates wurden mit dem {factor:.2f}-Fachen ihrer Skalierung zusammengeführt</translation>
        </message>
        <message>
            <source>the weights</source>
            <translation>die Gewichte</translation>
        </message>
        <message>
            <source>the weights contain {name}, but config.json states fewer layers</source>
            <translation>die Gewichte enthalten {name}, aber config.json nennt weniger Schichten</translation>
        </message>
        <message>
            <source>the weights have the same values</source>
            <translation>die Gewichte haben dieselben Werte</translation>
        </message>
        <message>
            <source>the weights have the same values, computed in 16 bits</source>
            <translation>die Gewichte haben dieselben Werte, berechnet in 16 Bit</translation>
        </message>
        <message>
            <source>there are more than {most} choices without labels</source>
            <translation>es gibt mehr als {most} Auswahlmöglichkeiten ohne Kennzeichnung</translation>
        </message>
        <message>
            <source>there are not two different answers</source>
            <translation>es gibt keine zwei verschiedenen Antworten</translation>
        </message>
        <message>
            <source>there is no label</source>
            <translation>es gibt kein Label</translation>
        </message>
        <message>
            <source>there is no llama-server on PATH, and none was given (`--llama-server`)</source>
            <translation>im PATH ist kein llama-server, und es wurde keiner angegeben (`--llama-server`)</translation>
        </message>
        <message>
            <source>there is no prompt</source>
            <translation>es gibt keinen Prompt</translation>
        </message>
        <message>
            <source>there is no question</source>
            <translation>es gibt keine Frage</translation>
        </message>
        <message>
            <source>there is no record of its content</source>
            <translation>sein Inhalt ist nirgends verzeichnet</translation>
        </message>
        <message>
            <source>there is no text</source>
            <translation>es gibt keinen Text</translation>
        </message>
        <message>
            <source>there is something between {items}</source>
            <translation>dazwischen steht etwas ({items})</translation>
        </message>
        <message>
            <source>there is something other than JSON between the rows</source>
            <translation>zwischen den Zeilen steht etwas anderes als JSON</translation>
        </message>
        <message>
            <source>this model has no feed-forward layers</source>
            <translation>dieses Modell hat keine Feed-forward-Schichten</translation>
        </message>
        <message>
            <source>this model rotates only parts of its heads</source>
            <translation>dieses Modell rotiert nur Teile seiner Heads</translation>
        </message>
        <message>
            <source>this part of the file is damaged</source>
            <translation>dieser Teil der Datei ist beschädigt</translation>
        </message>
        <message>
            <source>this run</source>
            <translation>dieser Lauf</translation>
        </message>
        <message>
            <source>this version of Liger doesn't have {function}</source>
            <translation>diese Version von Liger hat {function} nicht</translation>
        </message>
        <message>
            <source>this version of llama.cpp can't merge weights while reading them</source>
            <translation>diese Version von llama.cpp kann Gewichte nicht beim Lesen zusammenführen</translation>
        </message>
        <message>
            <source>this version of llama.cpp converts or runs the model differently, since the file's values are those of a fresh conversion</source>
            <translation>diese Version von llama.cpp konvertiert das Modell anders oder führt es anders aus, denn die Datei hat die Werte einer neuen Konvertierung</translation>
        </message>
        <message>
            <source>tie</source>
            <translation>unentschieden</translation>
        </message>
        <message>
            <source>times of subtitles ({count})</source>
            <translation>Zeitangaben von Untertiteln ({count})</translation>
        </message>
        <message>
            <source>to do</source>
            <translation>zu tun</translation>
        </message>
        <message>
            <source>to range over a number</source>
            <translation>um über eine Zahl zu iterieren</translation>
        </message>
        <message>
            <source>token limit reached</source>
            <translation>Token-Limit erreicht</translation>
        </message>
        <message>
            <source>tokenizing rows</source>
            <translation>Zeilen in Tokens zerlegen</translation>
        </message>
        <message>
            <source>tokens</source>
            <translation>Tokens</translation>
        </message>
        <message>
            <source>tokens per completion</source>
            <translation>Token pro Antwort</translation>
        </message>
        <message>
            <source>tokens per row</source>
            <translation>Tokens je Zeile</translation>
        </message>
        <message>
            <source>tokens per second</source>
            <translation>Tokens pro Sekunde</translation>
        </message>
        <message>
            <source>tokens/s</source>
            <translation>Tokens/s</translation>
        </message>
        <message>
            <source>too large</source>
            <translation>zu groß</translation>
        </message>
        <message>
            <source>too many rows precede it</source>
            <translation>zu viele Zeilen gehen ihr voraus</translation>
        </message>
        <message>
            <source>too many runs were created in one second</source>
            <translation>in einer Sekunde wurden zu viele Läufe angelegt</translation>
        </message>
        <message>
            <source>tool</source>
            <translation>Tool</translation>
        </message>
        <message>
            <source>tool calls</source>
            <translation>Tool-Aufrufe</translation>
        </message>
        <message>
            <source>tool calls (`tool_calls`)</source>
            <translation>Werkzeugaufrufe (`tool_calls`)</translation>
        </message>
        <message>
            <source>tool calls and tool results</source>
            <translation>Tool-Aufrufe und Tool-Ergebnisse</translation>
        </message>
        <message>
            <source>tool definition</source>
            <translation>Tool-Definition</translation>
        </message>
        <message>
            <source>tool results</source>
            <translation>Tool-Ergebnisse</translation>
        </message>
        <message>
            <source>tool results after an answer without tool calls</source>
            <translation>Tool-Ergebnisse nach einer Antwort ohne Tool-Aufrufe</translation>
        </message>
        <message>
            <source>tools</source>
            <translation>Tools</translation>
        </message>
        <message>
            <source>tools that the chat template rejects</source>
            <translation>Tools, die die Chat-Vorlage ablehnt</translation>
        </message>
        <message>
            <source>torch.compile</source>
            <translation>torch.compile</translation>
        </message>
        <message>
            <source>torch.compile can't be used here: {reason}.</source>
            <translation>torch.compile ist hier nicht nutzbar: {reason}.</translation>
        </message>
        <message>
            <source>torch.compile is used: the longest micro-batch takes {after:.3g} s instead of {before:.3g} s, after {seconds:duration} of compiling.</source>
            <translation>torch.compile wird genutzt: Der längste Mikro-Batch braucht {after:.3g} s statt {before:.3g} s, nach {seconds:duration} Kompilieren.</translation>
        </message>
        <message>
            <source>torch.compile isn't used because it isn't faster: the longest micro-batch takes {after:.3g} s instead of {before:.3g} s, after {seconds:duration} of compiling.</source>
            <translation>torch.compile wird nicht genutzt, weil es nicht schneller ist: Der längste Mikro-Batch braucht {after:.3g} s statt {before:.3g} s, nach {seconds:duration} Kompilieren.</translation>
        </message>
        <message>
            <source>train.py, which repeats this training elsewhere, couldn't be written: {reason}.</source>
            <translation>train.py, das dieses Training anderswo wiederholt, konnte nicht geschrieben werden: {reason}.</translation>
        </message>
        <message>
            <source>trained</source>
            <translation>trainiert</translation>
        </message>
        <message>
            <source>transformers saves its weights under other names</source>
            <translation>transformers speichert seine Gewichte unter anderen Namen</translation>
        </message>
        <message>
            <source>transformers {version} doesn't support the architecture {name} (model_type: {type}).</source>
            <translation>transformers {version} unterstützt die Architektur {name} nicht (model_type: {type}).</translation>
        </message>
        <message>
            <source>truncated completions</source>
            <translation>abgeschnittene Antworten</translation>
        </message>
        <message>
            <source>truncated completions (%)</source>
            <translation>abgeschnittene Antworten (%)</translation>
        </message>
        <message>
            <source>two answers in a row</source>
            <translation>zwei Antworten hintereinander</translation>
        </message>
        <message>
            <source>two messages of one role in a row</source>
            <translation>zwei Nachrichten einer Rolle hintereinander</translation>
        </message>
        <message>
            <source>two system messages in a row</source>
            <translation>zwei Systemnachrichten hintereinander</translation>
        </message>
        <message>
            <source>two user messages in a row</source>
            <translation>zwei Nutzernachrichten hintereinander</translation>
        </message>
        <message>
            <source>two {role} turns in similar positions are written differently: {first} and {second}</source>
            <translation>zwei Beiträge ({role}) an ähnlichen Stellen werden verschieden geschrieben: {first} und {second}</translation>
        </message>
        <message>
            <source>unpacking the weights</source>
            <translation>Gewichte werden entpackt</translation>
        </message>
        <message>
            <source>unusable for other models</source>
            <translation>für andere Modelle unbrauchbar</translation>
        </message>
        <message>
            <source>updates</source>
            <translation>Updates</translation>
        </message>
        <message>
            <source>uploading to Ollama</source>
            <translation>zu Ollama hochladen</translation>
        </message>
        <message>
            <source>uploading {file}</source>
            <translation>{file} wird hochgeladen</translation>
        </message>
        <message>
            <source>user</source>
            <translation>Nutzer</translation>
        </message>
        <message>
            <source>user messages</source>
            <translation>Nutzernachrichten</translation>
        </message>
        <message>
            <source>values or gradients differ</source>
            <translation>Werte oder Gradienten weichen ab</translation>
        </message>
        <message>
            <source>very large</source>
            <translation>sehr groß</translation>
        </message>
        <message>
            <source>very small</source>
            <translation>sehr klein</translation>
        </message>
        <message>
            <source>videos ({count})</source>
            <translation>Videos ({count})</translation>
        </message>
        <message>
            <source>voice messages ({count})</source>
            <translation>Sprachnachrichten ({count})</translation>
        </message>
        <message>
            <source>waiting for {device}</source>
            <translation>Warten auf {device}</translation>
        </message>
        <message>
            <source>warning: {problem} {remedy}</source>
            <translation>Warnung: {problem} {remedy}</translation>
        </message>
        <message>
            <source>what the chat template rejects: {kinds}</source>
            <translation>was die Chat-Vorlage ablehnt: {kinds}</translation>
        </message>
        <message>
            <source>white space around a message</source>
            <translation>Leerraum um eine Nachricht</translation>
        </message>
        <message>
            <source>whitespace around a message changes the adjacent text {text}</source>
            <translation>Leerraum um eine Nachricht verändert den angrenzenden Text {text}</translation>
        </message>
        <message>
            <source>with so few bits, a model with {parameters:count} parameters is expected to lose {nats:.2g} nats, which can't be distinguished from an error</source>
            <translation>bei so wenigen Bits verliert ein Modell mit {parameters:count} Parametern erwartungsgemäß {nats:.2g} Nats, was sich nicht von einem Fehler unterscheiden lässt</translation>
        </message>
        <message>
            <source>with the fixed date {date:date}</source>
            <translation>mit dem festen Datum {date:date}</translation>
        </message>
        <message>
            <source>without a reward (%)</source>
            <translation>ohne Belohnung (%)</translation>
        </message>
        <message>
            <source>without tools, the chat template gets an empty list of tools</source>
            <translation>ohne Tools bekommt die Chat-Vorlage eine leere Liste von Tools</translation>
        </message>
        <message>
            <source>without {constructs}</source>
            <translation>ohne {constructs}</translation>
        </message>
        <message>
            <source>writing rows for train.py</source>
            <translation>Zeilen für train.py werden geschrieben</translation>
        </message>
        <message>
            <source>writing the model</source>
            <translation>Modell wird geschrieben</translation>
        </message>
        <message>
            <source>writing train.py</source>
            <translation>train.py schreiben</translation>
        </message>
        <message>
            <source>wrong</source>
            <translation>falsch</translation>
        </message>
        <message>
            <source>yes</source>
            <translation>ja</translation>
        </message>
        <message>
            <source>your note</source>
            <translation>Ihre Notiz</translation>
        </message>
        <message>
            <source>your own Discord messages without those that they answer</source>
            <translation>Ihre eigenen Discord-Nachrichten ohne die, auf die sie antworten</translation>
        </message>
        <message>
            <source>{action} (Ctrl+Enter)</source>
            <translation>{action} (Strg+Eingabe)</translation>
        </message>
        <message>
            <source>{advice} Ollama 0.30 and later, LM Studio, and llama.cpp are affected.</source>
            <translation>{advice} Betroffen sind Ollama ab 0.30, LM Studio und llama.cpp.</translation>
        </message>
        <message>
            <source>{answer} is better</source>
            <translation>{answer} ist besser</translation>
        </message>
        <message>
            <source>{architecture} can't be trained as a classifier: transformers has no matching model with a classification head.</source>
            <translation>{architecture} lässt sich nicht als Klassifikator trainieren: transformers hat dazu kein Modell mit Klassifikationskopf.</translation>
        </message>
        <message>
            <source>{architecture} can't be trained as a reward model.</source>
            <translation>{architecture} kann nicht als Belohnungsmodell trainiert werden.</translation>
        </message>
        <message>
            <source>{architecture} can't be trained for embeddings.</source>
            <translation>{architecture} kann nicht für Embeddings trainiert werden.</translation>
        </message>
        <message>
            <source>{architecture} has no list of blocks, so its weights can't be sharded across devices.</source>
            <translation>{architecture} hat keine Liste von Blöcken; die Gewichte lassen sich deshalb nicht auf mehrere Geräte aufteilen.</translation>
        </message>
        <message>
            <source>{bits} (tight fit)</source>
            <translation>{bits} (knapp)</translation>
        </message>
        <message>
            <source>{change} points in {category}</source>
            <translation>{change} Punkte ({category})</translation>
        </message>
        <message>
            <source>{change} points over all abilities</source>
            <translation>{change} Punkte über alle Fähigkeiten</translation>
        </message>
        <message numerus="yes">
            <source>{columns} contain text that isn't used.</source>
            <translation>
                <numerusform>{columns} enthält Text, der nicht verwendet wird.</numerusform>
                <numerusform>{columns} enthalten Text, der nicht verwendet wird.</numerusform>
            </translation>
        </message>
        <message>
            <source>{columns} may contain ratings. They are ignored: every answer counts as good.</source>
            <translation>Mögliche Bewertungen in {columns} werden ignoriert: Jede Antwort gilt als gut.</translation>
        </message>
        <message numerus="yes">
            <source>{columns} refer to images, audio, or video in {share:percent} of the rows checked. Training uses the text only.</source>
            <translation>
                <numerusform>{columns} verweist in {share:percent} der geprüften Zeilen auf Bilder, Audio oder Video. Trainiert wird nur der Text.</numerusform>
                <numerusform>{columns} verweisen in {share:percent} der geprüften Zeilen auf Bilder, Audio oder Video. Trainiert wird nur der Text.</numerusform>
            </translation>
        </message>
        <message>
            <source>{column}: {done} of {total} answers</source>
            <translation>{column}: {done} von {total} Antworten</translation>
        </message>
        <message>
            <source>{compared}, but only with a fresh conversion: {reason}</source>
            <translation>{compared}, aber nur mit einer erneuten Konvertierung: {reason}</translation>
        </message>
        <message>
            <source>{compared}, but only with a second merge: PEFT can't compute the updates of this adapter one by one ({reason})</source>
            <translation>{compared}, aber nur mit einer zweiten Zusammenführung: PEFT kann die Änderungen durch diesen Adapter nicht einzeln berechnen ({reason})</translation>
        </message>
        <message>
            <source>{compared}; label probabilities differ by at most {difference:.2g} (held-out texts: {n})</source>
            <translation>{compared}; Wahrscheinlichkeiten der Labels weichen um höchstens {difference:.2g} ab (zurückgehaltene Texte: {n})</translation>
        </message>
        <message numerus="yes">
            <source>{compared}; {n} updates are too small to be seen in {quantization}</source>
            <translation>
                <numerusform>{compared}; {n} Änderung ist zu klein, um in {quantization} erkennbar zu sein</numerusform>
                <numerusform>{compared}; {n} Änderungen sind zu klein, um in {quantization} erkennbar zu sein</numerusform>
            </translation>
        </message>
        <message>
            <source>{consequence} The closest verified TEMPLATE is the one {alternative}.</source>
            <translation>{consequence} Das ähnlichste geprüfte TEMPLATE ist das {alternative}.</translation>
        </message>
        <message>
            <source>{construct} in line {line:d}</source>
            <translation>{construct} in Zeile {line:d}</translation>
        </message>
        <message>
            <source>{conversation} (only the TEMPLATE writes {parts})</source>
            <translation>{conversation} (nur das TEMPLATE schreibt Folgendes: {parts})</translation>
        </message>
        <message>
            <source>{conversation} (the TEMPLATE omits {parts})</source>
            <translation>{conversation} (im TEMPLATE fehlt: {parts})</translation>
        </message>
        <message>
            <source>{conversation}, which the TEMPLATE rejects</source>
            <translation>{conversation} (vom TEMPLATE abgelehnt)</translation>
        </message>
        <message>
            <source>{count} (hidden size {width})</source>
            <translation>{count} (Hidden Size {width})</translation>
        </message>
        <message>
            <source>{count} GPUs</source>
            <translation>{count} GPUs</translation>
        </message>
        <message>
            <source>{count} downloads</source>
            <translation>{count} Downloads</translation>
        </message>
        <message>
            <source>{count} fit on this device</source>
            <translation>{count} passen auf dieses Gerät</translation>
        </message>
        <message>
            <source>{count} of {all} (from an earlier attempt)</source>
            <translation>{count} von {all} (aus einem früheren Versuch)</translation>
        </message>
        <message>
            <source>{count} of {all} tensors</source>
            <translation>{count} von {all} Tensoren</translation>
        </message>
        <message>
            <source>{count} parameters</source>
            <translation>{count} Parameter</translation>
        </message>
        <message>
            <source>{count} skipped</source>
            <translation>{count} übersprungen</translation>
        </message>
        <message>
            <source>{dataset} has no data files.</source>
            <translation>{dataset} enthält keine Datendateien.</translation>
        </message>
        <message>
            <source>{dataset} has no data files. It needs a loading script, and scripts aren't run.</source>
            <translation>{dataset} enthält keine Datendateien. Der Datensatz braucht ein Ladeskript, und Skripte werden nicht ausgeführt.</translation>
        </message>
        <message>
            <source>{dataset} has no split {split}.</source>
            <translation>{dataset} hat keinen Split {split}.</translation>
        </message>
        <message>
            <source>{dataset} has no subset {subset}.</source>
            <translation>{dataset} hat keine Teilmenge {subset}.</translation>
        </message>
        <message>
            <source>{dataset} has several subsets.</source>
            <translation>{dataset} hat mehrere Teilmengen.</translation>
        </message>
        <message>
            <source>{day} {month}</source>
            <translation>{day}. {month}</translation>
        </message>
        <message>
            <source>{devices} lists a device twice.</source>
            <translation>{devices} nennt ein Gerät zweimal.</translation>
        </message>
        <message>
            <source>{device} is in use by another job.</source>
            <translation>{device} wird von einem anderen Auftrag benutzt.</translation>
        </message>
        <message>
            <source>{device} is in use by the run {run}.</source>
            <translation>{device} wird vom Lauf {run} benutzt.</translation>
        </message>
        <message>
            <source>{device} is in use by {run} in {folder}.</source>
            <translation>{device} wird von {run} in {folder} verwendet.</translation>
        </message>
        <message>
            <source>{device}, {free} of {total} free</source>
            <translation>{device}, {free} von {total} frei</translation>
        </message>
        <message>
            <source>{device}, {memory}, {free_bytes} free</source>
            <translation>{device}, {memory}, {free_bytes} frei</translation>
        </message>
        <message>
            <source>{doing}  ·  {speed}/s</source>
            <translation>{doing}  ·  {speed}/s</translation>
        </message>
        <message>
            <source>{doing}: {done} of {total}</source>
            <translation>{doing}: {done} von {total}</translation>
        </message>
        <message>
            <source>{done} of {total}</source>
            <translation>{done} von {total}</translation>
        </message>
        <message>
            <source>{dtype}, {size}</source>
            <translation>{dtype}, {size}</translation>
        </message>
        <message>
            <source>{engine} (created {date})</source>
            <translation>{engine} (erstellt {date})</translation>
        </message>
        <message>
            <source>{expected} would become {actual}</source>
            <translation>aus {expected} würde {actual}</translation>
        </message>
        <message>
            <source>{field} must be between {low} and {high}.</source>
            <translation>{field} muss zwischen {low} und {high} liegen.</translation>
        </message>
        <message>
            <source>{file} and manifest.json in the run folder belong to different runs.</source>
            <translation>{file} und manifest.json im Ordner des Laufs gehören zu verschiedenen Läufen.</translation>
        </message>
        <message>
            <source>{file} can't be opened, so PyTorch can't use the GPU. Run `{command}`, then sign out and sign in again.</source>
            <translation>{file} lässt sich nicht öffnen, daher kann PyTorch die GPU nicht verwenden. Führen Sie `{command}` aus, melden Sie sich ab und wieder an.</translation>
        </message>
        <message>
            <source>{file} can't be opened: {reason}.</source>
            <translation>{file} lässt sich nicht öffnen: {reason}.</translation>
        </message>
        <message>
            <source>{file} can't be read</source>
            <translation>{file} ist nicht lesbar</translation>
        </message>
        <message>
            <source>{file} can't be read ({reason})</source>
            <translation>{file} ist nicht lesbar ({reason})</translation>
        </message>
        <message>
            <source>{file} can't be read as a GGUF model.</source>
            <translation>{file} lässt sich nicht als GGUF-Modell lesen.</translation>
        </message>
        <message>
            <source>{file} can't be read as a GGUF model: {reason}.</source>
            <translation>{file} lässt sich nicht als GGUF-Modell lesen: {reason}.</translation>
        </message>
        <message>
            <source>{file} can't be read. {reason}</source>
            <translation>{file} kann nicht gelesen werden. {reason}</translation>
        </message>
        <message>
            <source>{file} can't be read: {reason}.</source>
            <translation>{file} lässt sich nicht lesen: {reason}.</translation>
        </message>
        <message>
            <source>{file} contains another chat template than the model was trained with.</source>
            <translation>{file} enthält eine andere Chat-Vorlage als die, mit der das Modell trainiert wurde.</translation>
        </message>
        <message>
            <source>{file} contains no chat template.</source>
            <translation>{file} enthält keine Chat-Vorlage.</translation>
        </message>
        <message>
            <source>{file} contains plain text</source>
            <translation>{file} enthält reinen Text</translation>
        </message>
        <message>
            <source>{file} couldn't be downloaded: {reason}.</source>
            <translation>{file} konnte nicht heruntergeladen werden: {reason}.</translation>
        </message>
        <message>
            <source>{file} couldn't be saved: {reason}.</source>
            <translation>{file} konnte nicht gespeichert werden: {reason}.</translation>
        </message>
        <message>
            <source>{file} doesn't contain it</source>
            <translation>{file} enthält es nicht</translation>
        </message>
        <message>
            <source>{file} expands to more than its size</source>
            <translation>{file} wird entpackt größer als die Datei selbst</translation>
        </message>
        <message>
            <source>{file} has changed since it was written</source>
            <translation>{file} hat sich seit dem Schreiben geändert</translation>
        </message>
        <message>
            <source>{file} has changed since the training wrote it. Your version is kept.</source>
            <translation>{file} wurde geändert, seit das Training sie geschrieben hat. Ihre Fassung bleibt erhalten.</translation>
        </message>
        <message>
            <source>{file} has conversations</source>
            <translation>{file} enthält Gespräche</translation>
        </message>
        <message>
            <source>{file} has labeled responses</source>
            <translation>{file} enthält bewertete Antworten</translation>
        </message>
        <message>
            <source>{file} has no chat template.</source>
            <translation>{file} hat keine Chat-Vorlage.</translation>
        </message>
        <message>
            <source>{file} has no column {name}.</source>
            <translation>{file} hat keine Spalte {name}.</translation>
        </message>
        <message>
            <source>{file} has no list of files</source>
            <translation>{file} enthält keine Dateiliste</translation>
        </message>
        <message>
            <source>{file} has pairs for search</source>
            <translation>{file} enthält Paare für die Suche</translation>
        </message>
        <message>
            <source>{file} has preference pairs</source>
            <translation>{file} enthält Präferenzpaare</translation>
        </message>
        <message>
            <source>{file} has prompts for rewards</source>
            <translation>{file} enthält Prompts für Belohnungen</translation>
        </message>
        <message>
            <source>{file} has tensors without values</source>
            <translation>{file} enthält Tensoren ohne eigene Werte</translation>
        </message>
        <message>
            <source>{file} has texts with labels</source>
            <translation>{file} hat Texte mit Labels</translation>
        </message>
        <message>
            <source>{file} has the architecture {architecture}, which can't be unpacked for training.</source>
            <translation>{file} hat die Architektur {architecture}, die sich nicht zum Trainieren entpacken lässt.</translation>
        </message>
        <message>
            <source>{file} in the run folder has changed since it was written.</source>
            <translation>{file} im Ordner des Laufs hat sich geändert, seit die Datei geschrieben wurde.</translation>
        </message>
        <message>
            <source>{file} in the run folder is a link. Jobs don't write through links.</source>
            <translation>{file} im Ordner des Laufs ist ein Link. Aufträge schreiben nicht durch Links.</translation>
        </message>
        <message>
            <source>{file} in the run folder is damaged.</source>
            <translation>{file} im Ordner des Laufs ist beschädigt.</translation>
        </message>
        <message>
            <source>{file} in the run folder is empty.</source>
            <translation>{file} im Ordner des Laufs ist leer.</translation>
        </message>
        <message>
            <source>{file} is a different file than in training</source>
            <translation>{file} ist eine andere Datei als beim Training</translation>
        </message>
        <message>
            <source>{file} is a link to a file outside of its folder, so it isn't copied.</source>
            <translation>{file} ist ein Link auf eine Datei außerhalb des Ordners und wird deshalb nicht kopiert.</translation>
        </message>
        <message>
            <source>{file} is a pickle file, which can run code when it is opened.</source>
            <translation>{file} ist eine Pickle-Datei, die beim Öffnen Code ausführen kann.</translation>
        </message>
        <message>
            <source>{file} is damaged, so default values are used.</source>
            <translation>{file} ist beschädigt, daher gelten die Standardwerte.</translation>
        </message>
        <message>
            <source>{file} is empty.</source>
            <translation>{file} ist leer.</translation>
        </message>
        <message>
            <source>{file} is incomplete</source>
            <translation>{file} ist unvollständig</translation>
        </message>
        <message>
            <source>{file} is larger than {limit:size}</source>
            <translation>{file} ist größer als {limit:size}</translation>
        </message>
        <message>
            <source>{file} is missing</source>
            <translation>{file} fehlt</translation>
        </message>
        <message>
            <source>{file} is missing, so it isn't tested.</source>
            <translation>{file} fehlt und wird deshalb nicht geprüft.</translation>
        </message>
        <message>
            <source>{file} is not part of the trained model</source>
            <translation>{file} gehört nicht zum trainierten Modell</translation>
        </message>
        <message>
            <source>{file} is one part of a model that is split into several files.</source>
            <translation>{file} ist ein Teil eines Modells, das in mehrere Dateien geteilt ist.</translation>
        </message>
        <message>
            <source>{file} is too large to show: it has more than {lines} lines or {most:size}.</source>
            <translation>{file} ist zu groß zum Anzeigen: Die Datei hat mehr als {lines} Zeilen oder {most:size}.</translation>
        </message>
        <message>
            <source>{file} isn't an archive of tensors</source>
            <translation>{file} ist kein Archiv von Tensoren</translation>
        </message>
        <message>
            <source>{file} lists no files</source>
            <translation>{file} nennt keine Dateien</translation>
        </message>
        <message>
            <source>{file} lists “{name}”, which isn't a safetensors file of the folder</source>
            <translation>{file} nennt „{name}“, das keine safetensors-Datei des Ordners ist</translation>
        </message>
        <message>
            <source>{file} uses {scaling} position scaling, which can't be unpacked for training.</source>
            <translation>{file} verwendet die Positionsskalierung {scaling}, die sich nicht zum Trainieren entpacken lässt.</translation>
        </message>
        <message>
            <source>{file} was unpacked, but its predictions differ from llama.cpp's by {kl:.2f} nats.</source>
            <translation>{file} wurde entpackt, aber die Vorhersagen weichen um {kl:.2f} Nats von denen von llama.cpp ab.</translation>
        </message>
        <message>
            <source>{file} was unpacked, but its tokens differ from llama.cpp's.</source>
            <translation>{file} wurde entpackt, aber die Tokens weichen von denen von llama.cpp ab.</translation>
        </message>
        <message>
            <source>{finding} On validation prompts: {first:loss} → {last:loss}.</source>
            <translation>{finding} Bei Validierungsprompts: {first:loss} → {last:loss}.</translation>
        </message>
        <message>
            <source>{first:d} to {last:d}</source>
            <translation>{first:d} bis {last:d}</translation>
        </message>
        <message>
            <source>{first} and {last}</source>
            <translation>{first} und {last}</translation>
        </message>
        <message>
            <source>{first} or {last}</source>
            <translation>{first} oder {last}</translation>
        </message>
        <message>
            <source>{first}, and {last}</source>
            <translation>{first} und {last}</translation>
        </message>
        <message>
            <source>{first}, or {last}</source>
            <translation>{first} oder {last}</translation>
        </message>
        <message>
            <source>{folder} ({size}), step {step}</source>
            <translation>{folder} ({size}), Schritt {step}</translation>
        </message>
        <message>
            <source>{folder} already contains a project.</source>
            <translation>{folder} enthält schon ein Projekt.</translation>
        </message>
        <message>
            <source>{folder} contains no data files.</source>
            <translation>{folder} enthält keine Datendateien.</translation>
        </message>
        <message>
            <source>{folder} contains no data files. Skipped: {files}</source>
            <translation>{folder} enthält keine Datendateien. Übersprungen: {files}</translation>
        </message>
        <message>
            <source>{folder} doesn't contain a LoRA adapter.</source>
            <translation>{folder} enthält keinen LoRA-Adapter.</translation>
        </message>
        <message>
            <source>{folder} doesn't contain a model.</source>
            <translation>{folder} enthält kein Modell.</translation>
        </message>
        <message>
            <source>{folder} doesn't contain {file}.</source>
            <translation>{folder} enthält {file} nicht.</translation>
        </message>
        <message>
            <source>{folder} has more Python files than a model needs ({count}).</source>
            <translation>{folder} enthält mehr Python-Dateien, als ein Modell braucht ({count}).</translation>
        </message>
        <message>
            <source>{folder} has more program files than llama.cpp.</source>
            <translation>{folder} enthält mehr Programmdateien als llama.cpp.</translation>
        </message>
        <message>
            <source>{folder} has more than {most} files.</source>
            <translation>{folder} enthält mehr als {most} Dateien.</translation>
        </message>
        <message>
            <source>{folder} has no .safetensors file.</source>
            <translation>{folder} enthält keine .safetensors-Datei.</translation>
        </message>
        <message>
            <source>{folder} has no .safetensors weights.</source>
            <translation>{folder} enthält keine .safetensors-Gewichte.</translation>
        </message>
        <message>
            <source>{folder} has no chat template to compare with.</source>
            <translation>{folder} hat keine Chat-Vorlage, mit der verglichen werden kann.</translation>
        </message>
        <message>
            <source>{folder} is not a Hugging Face model: it has no config.json.</source>
            <translation>{folder} ist kein Hugging-Face-Modell: config.json fehlt.</translation>
        </message>
        <message>
            <source>{folder} is not a complete model: its config.json can't be read.</source>
            <translation>{folder} ist kein vollständiges Modell: config.json lässt sich nicht lesen.</translation>
        </message>
        <message>
            <source>{folder} stores its weights as a pickle ({file}). Pickle files can run any code when they are opened, so they are never loaded.</source>
            <translation>{folder} speichert seine Gewichte als Pickle ({file}). Pickle-Dateien können beim Öffnen beliebigen Code ausführen und werden deshalb nie geladen.</translation>
        </message>
        <message>
            <source>{format} (also matches)</source>
            <translation>{format} (passt auch)</translation>
        </message>
        <message>
            <source>{format} (best for this device)</source>
            <translation>{format} (optimal für dieses Gerät)</translation>
        </message>
        <message>
            <source>{format} ({confidence})</source>
            <translation>{format} ({confidence})</translation>
        </message>
        <message>
            <source>{format} ({confidence}): {evidence}</source>
            <translation>{format} ({confidence}): {evidence}</translation>
        </message>
        <message>
            <source>{format}: a guess, because the column names don't say what they contain. Compare the first rows below.</source>
            <translation>{format}: eine Vermutung, denn die Spaltennamen sagen nicht, was sie enthalten. Vergleichen Sie die ersten Zeilen unten.</translation>
        </message>
        <message>
            <source>{free} is available.</source>
            <translation>{free} verfügbar.</translation>
        </message>
        <message>
            <source>{host} (this computer)</source>
            <translation>{host} (dieser Computer)</translation>
        </message>
        <message>
            <source>{host} continues its list on another server</source>
            <translation>{host} setzt seine Liste auf einem anderen Server fort</translation>
        </message>
        <message>
            <source>{host} redirects to an invalid address</source>
            <translation>{host} leitet auf eine ungültige Adresse weiter</translation>
        </message>
        <message>
            <source>{host} redirects to an unencrypted address</source>
            <translation>{host} leitet auf eine unverschlüsselte Adresse weiter</translation>
        </message>
        <message>
            <source>{host} redirects to this computer</source>
            <translation>{host} leitet auf diesen Computer weiter</translation>
        </message>
        <message>
            <source>{host} redirects what is sent to it to {other}</source>
            <translation>{host} leitet gesendete Daten an {other} weiter</translation>
        </message>
        <message>
            <source>{host} returned {status}</source>
            <translation>{host} meldete {status}</translation>
        </message>
        <message>
            <source>{host} returned {status} and asks to wait {seconds:duration}</source>
            <translation>{host} meldete {status} und bittet um {seconds:duration} Wartezeit</translation>
        </message>
        <message>
            <source>{index} of {count}</source>
            <translation>{index} von {count}</translation>
        </message>
        <message>
            <source>{job} canceled</source>
            <translation>{job} abgebrochen</translation>
        </message>
        <message>
            <source>{job} failed</source>
            <translation>{job} fehlgeschlagen</translation>
        </message>
        <message>
            <source>{job} finished</source>
            <translation>{job} abgeschlossen</translation>
        </message>
        <message>
            <source>{job} is running</source>
            <translation>{job} läuft</translation>
        </message>
        <message>
            <source>{key} can't be read ({reason})</source>
            <translation>{key} kann nicht gelesen werden ({reason})</translation>
        </message>
        <message>
            <source>{key} can't be rendered ({reason})</source>
            <translation>{key} kann nicht gerendert werden ({reason})</translation>
        </message>
        <message>
            <source>{key} differs from character {position} on: {actual} instead of {expected}</source>
            <translation>{key} weicht ab Zeichen {position} ab: {actual} statt {expected}</translation>
        </message>
        <message>
            <source>{key} has {actual} entries instead of {expected}</source>
            <translation>{key} hat {actual} Einträge statt {expected}</translation>
        </message>
        <message>
            <source>{key} in its header has more than {limit:size}</source>
            <translation>{key} im Header hat mehr als {limit:size}</translation>
        </message>
        <message>
            <source>{key} in its header is missing or out of range</source>
            <translation>{key} fehlt im Header oder ist ungültig</translation>
        </message>
        <message>
            <source>{key} in its {file} has more than {limit:number} characters</source>
            <translation>{key} in {file} hat mehr als {limit:number} Zeichen</translation>
        </message>
        <message>
            <source>{key} is missing, expected {expected}</source>
            <translation>{key} fehlt, erwartet wird {expected}</translation>
        </message>
        <message>
            <source>{key} is stored as another type of value than llama.cpp expects</source>
            <translation>{key} ist mit einem anderen Werttyp gespeichert, als llama.cpp erwartet</translation>
        </message>
        <message>
            <source>{key} is {actual} instead of {expected}</source>
            <translation>{key} ist {actual} statt {expected}</translation>
        </message>
        <message>
            <source>{key} is {actual}, but should not be set</source>
            <translation>{key} ist {actual}, sollte aber nicht gesetzt sein</translation>
        </message>
        <message>
            <source>{key} of the file</source>
            <translation>{key} der Datei</translation>
        </message>
        <message>
            <source>{key} writes {actual} instead of {expected} for {conversation}</source>
            <translation>{key} schreibt {actual} statt {expected} bei: {conversation}</translation>
        </message>
        <message>
            <source>{kinds} together</source>
            <translation>{kinds} zusammen</translation>
        </message>
        <message>
            <source>{kind}, LoRA Studio {version}, PyTorch {torch}, Python {python}</source>
            <translation>{kind}, LoRA Studio {version}, PyTorch {torch}, Python {python}</translation>
        </message>
        <message>
            <source>{kind}, nested rows</source>
            <translation>{kind}, verschachtelte Zeilen</translation>
        </message>
        <message>
            <source>{kind}, rank {rank}</source>
            <translation>{kind}, Rang {rank}</translation>
        </message>
        <message>
            <source>{labels}, {rows}. Repairs are applied.</source>
            <translation>{labels}, {rows}. Reparaturen sind berücksichtigt.</translation>
        </message>
        <message>
            <source>{left} free</source>
            <translation>{left} frei</translation>
        </message>
        <message>
            <source>{loss}, best eval loss {best_eval}</source>
            <translation>{loss}, bester Eval-Loss {best_eval}</translation>
        </message>
        <message numerus="yes">
            <source>{lost} of {n} rows can't be read as “{format}”. The most frequent reason: {reason}.</source>
            <translation>
                <numerusform>Die einzige Zeile kann nicht als „{format}“ gelesen werden: {reason}.</numerusform>
                <numerusform>{lost} von {n} Zeilen können nicht als „{format}“ gelesen werden. Der häufigste Grund: {reason}.</numerusform>
            </translation>
        </message>
        <message>
            <source>{metric} by {first} (rows) and {second} (columns)</source>
            <translation>{metric} nach {first} (Zeilen) und {second} (Spalten)</translation>
        </message>
        <message>
            <source>{metric} by {settings}</source>
            <translation>{metric} nach {settings}</translation>
        </message>
        <message>
            <source>{metric} of {runs}</source>
            <translation>{metric} von {runs}</translation>
        </message>
        <message>
            <source>{missing} over the limit</source>
            <translation>{missing} zu viel</translation>
        </message>
        <message>
            <source>{model} at {address} didn't answer: {reason}.</source>
            <translation>{model} auf {address} hat nicht geantwortet: {reason}.</translation>
        </message>
        <message>
            <source>{model} compared with {other}</source>
            <translation>{model} verglichen mit {other}</translation>
        </message>
        <message>
            <source>{model} was created, but not tested: {reason}</source>
            <translation>{model} wurde erstellt, aber nicht getestet: {reason}</translation>
        </message>
        <message>
            <source>{module} has a different shape in this model.</source>
            <translation>{module} hat in diesem Modell eine andere Form.</translation>
        </message>
        <message>
            <source>{module} has a different shape than in the first adapter</source>
            <translation>{module} hat eine andere Form als im ersten Adapter</translation>
        </message>
        <message>
            <source>{module} has more experts than the adapter</source>
            <translation>{module} hat mehr Experten als der Adapter</translation>
        </message>
        <message>
            <source>{module} is a convolution</source>
            <translation>{module} ist eine Faltung</translation>
        </message>
        <message>
            <source>{n:d} more</source>
            <translation>{n:d} weitere</translation>
        </message>
        <message>
            <source>{names} and {count} more</source>
            <translation>{names} und {count} weitere</translation>
        </message>
        <message>
            <source>{names} and {more} more</source>
            <translation>{names} und {more} weitere</translation>
        </message>
        <message>
            <source>{names} trained in full</source>
            <translation>{names} vollständig trainiert</translation>
        </message>
        <message>
            <source>{name} (required)</source>
            <translation>{name} (erforderlich)</translation>
        </message>
        <message>
            <source>{name} ({export}) is damaged: {reason}.</source>
            <translation>{name} ({export}) ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>{name} can't be combined with other adapters: {reason}.</source>
            <translation>{name} lässt sich nicht mit anderen Adaptern kombinieren: {reason}.</translation>
        </message>
        <message>
            <source>{name} can't be read to the end: {reason}. The rows before that point are used.</source>
            <translation>{name} kann nicht bis zum Ende gelesen werden: {reason}. Die Zeilen davor werden verwendet.</translation>
        </message>
        <message>
            <source>{name} can't be read: the file or folder doesn't exist.</source>
            <translation>{name} kann nicht gelesen werden: Die Datei oder der Ordner existiert nicht.</translation>
        </message>
        <message>
            <source>{name} can't be read: {reason}.</source>
            <translation>{name} kann nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>{name} can't have an adapter: embeddings, the output layer, and routers of experts can only be trained in full.</source>
            <translation>{name} kann keinen Adapter haben: Embeddings, die Ausgabeschicht und die Router von Experten lassen sich nur vollständig trainieren.</translation>
        </message>
        <message>
            <source>{name} contains more than {most} files.</source>
            <translation>{name} enthält mehr als {most} Dateien.</translation>
        </message>
        <message>
            <source>{name} contains other lists of rows, which aren't used: {lists}.</source>
            <translation>{name} enthält weitere Listen von Zeilen, die nicht verwendet werden: {lists}.</translation>
        </message>
        <message>
            <source>{name} contains text, not the table that its extension suggests.</source>
            <translation>{name} enthält Text, nicht die Tabelle, die die Dateiendung erwarten lässt.</translation>
        </message>
        <message>
            <source>{name} contains {export}, which LoRA Studio can't read.</source>
            <translation>{name} enthält {export}. Das kann LoRA Studio nicht lesen.</translation>
        </message>
        <message>
            <source>{name} has more than {most} columns.</source>
            <translation>{name} hat mehr als {most} Spalten.</translation>
        </message>
        <message>
            <source>{name} has no rows.</source>
            <translation>{name} hat keine Zeilen.</translation>
        </message>
        <message>
            <source>{name} has no training steps to compare.</source>
            <translation>{name} hat keine Trainingsschritte zum Vergleichen.</translation>
        </message>
        <message>
            <source>{name} has pandas' layout “split” or “index”, which LoRA Studio can't read.</source>
            <translation>{name} hat das pandas-Layout „split“ oder „index“, das LoRA Studio nicht lesen kann.</translation>
        </message>
        <message>
            <source>{name} initializes from the base weights, which are quantized.</source>
            <translation>{name} initialisiert aus den Basisgewichten, und diese sind quantisiert.</translation>
        </message>
        <message>
            <source>{name} is JSON5 or JSON with comments, which LoRA Studio can't read.</source>
            <translation>{name} ist JSON5 oder JSON mit Kommentaren. Das kann LoRA Studio nicht lesen.</translation>
        </message>
        <message>
            <source>{name} is a 7-Zip archive.</source>
            <translation>{name} ist ein 7-Zip-Archiv.</translation>
        </message>
        <message>
            <source>{name} is a Feather V1 file.</source>
            <translation>{name} ist eine Feather-V1-Datei.</translation>
        </message>
        <message>
            <source>{name} is a GGUF model.</source>
            <translation>{name} ist ein GGUF-Modell.</translation>
        </message>
        <message>
            <source>{name} is a Git LFS pointer, not the file itself.</source>
            <translation>{name} ist ein Git-LFS-Verweis, nicht die Datei selbst.</translation>
        </message>
        <message>
            <source>{name} is a NumPy array.</source>
            <translation>{name} ist ein NumPy-Array.</translation>
        </message>
        <message>
            <source>{name} is a PDF document.</source>
            <translation>{name} ist ein PDF-Dokument.</translation>
        </message>
        <message>
            <source>{name} is a PowerPoint presentation.</source>
            <translation>{name} ist eine PowerPoint-Präsentation.</translation>
        </message>
        <message>
            <source>{name} is a PyTorch weights file (pickle).</source>
            <translation>{name} ist eine PyTorch-Gewichtsdatei (Pickle).</translation>
        </message>
        <message>
            <source>{name} is a RAR archive.</source>
            <translation>{name} ist ein RAR-Archiv.</translation>
        </message>
        <message>
            <source>{name} is a Word document.</source>
            <translation>{name} ist ein Word-Dokument.</translation>
        </message>
        <message>
            <source>{name} is a damaged {format} file: {reason}.</source>
            <translation>{name} ist eine beschädigte {format}-Datei: {reason}.</translation>
        </message>
        <message>
            <source>{name} is a document of an old Office version.</source>
            <translation>{name} ist ein Dokument einer alten Office-Version.</translation>
        </message>
        <message>
            <source>{name} is a pickle, which can run code when it is opened.</source>
            <translation>{name} ist eine Pickle-Datei, die beim Öffnen Code ausführen kann.</translation>
        </message>
        <message>
            <source>{name} is a pipe or a device, which can't be read twice.</source>
            <translation>{name} ist eine Pipe oder ein Gerät und kann nicht zweimal gelesen werden.</translation>
        </message>
        <message>
            <source>{name} is a rich text document.</source>
            <translation>{name} ist ein Rich-Text-Dokument.</translation>
        </message>
        <message>
            <source>{name} is a speech model.</source>
            <translation>{name} ist ein Modell für gesprochene Sprache.</translation>
        </message>
        <message>
            <source>{name} is a vision model: it can't generate text.</source>
            <translation>{name} ist ein Bildmodell und kann keinen Text erzeugen.</translation>
        </message>
        <message>
            <source>{name} is an Avro file.</source>
            <translation>{name} ist eine Avro-Datei.</translation>
        </message>
        <message>
            <source>{name} is an Excel workbook.</source>
            <translation>{name} ist eine Excel-Arbeitsmappe.</translation>
        </message>
        <message>
            <source>{name} is an HDF5 file.</source>
            <translation>{name} ist eine HDF5-Datei.</translation>
        </message>
        <message>
            <source>{name} is an ORC file.</source>
            <translation>{name} ist eine ORC-Datei.</translation>
        </message>
        <message>
            <source>{name} is an OpenDocument file.</source>
            <translation>{name} ist eine OpenDocument-Datei.</translation>
        </message>
        <message>
            <source>{name} is an SQLite database.</source>
            <translation>{name} ist eine SQLite-Datenbank.</translation>
        </message>
        <message>
            <source>{name} is an archive inside another file.</source>
            <translation>{name} ist ein Archiv in einer anderen Datei.</translation>
        </message>
        <message>
            <source>{name} is an e-book.</source>
            <translation>{name} ist ein E-Book.</translation>
        </message>
        <message>
            <source>{name} is an encoder or a classifier: it can't generate text.</source>
            <translation>{name} ist ein Encoder oder ein Klassifikator und kann keinen Text erzeugen.</translation>
        </message>
        <message>
            <source>{name} is an encoder-decoder model. LoRA Studio trains decoder-only models.</source>
            <translation>{name} ist ein Encoder-Decoder-Modell. LoRA Studio trainiert reine Decoder-Modelle.</translation>
        </message>
        <message>
            <source>{name} is an exported chat ({export}). Its messages are grouped into conversations by thread, by reply, and by pauses of hours.</source>
            <translation>{name} ist ein exportierter Chat ({export}). Seine Nachrichten sind nach Threads, Antworten und stundenlangen Pausen zu Unterhaltungen zusammengefasst.</translation>
        </message>
        <message>
            <source>{name} is an image.</source>
            <translation>{name} ist ein Bild.</translation>
        </message>
        <message>
            <source>{name} is better</source>
            <translation>{name} ist besser</translation>
        </message>
        <message>
            <source>{name} is compressed more than once.</source>
            <translation>{name} ist mehr als einmal komprimiert.</translation>
        </message>
        <message>
            <source>{name} is empty.</source>
            <translation>{name} ist leer.</translation>
        </message>
        <message>
            <source>{name} is neither JSON nor JSON lines: it starts with “{beginning}”.</source>
            <translation>{name} ist weder JSON noch JSON-Zeilen: Die Datei beginnt mit „{beginning}“.</translation>
        </message>
        <message>
            <source>{name} is not UTF-8. It was read as {encoding}, which fits its letters best.</source>
            <translation>{name} ist nicht UTF-8. Gelesen wurde die Datei als {encoding}, das am besten zu ihren Buchstaben passt.</translation>
        </message>
        <message>
            <source>{name} is not a causal language model.</source>
            <translation>{name} ist kein kausales Sprachmodell.</translation>
        </message>
        <message>
            <source>{name} is not valid JSON: {error}.</source>
            <translation>{name} ist kein gültiges JSON: {error}.</translation>
        </message>
        <message>
            <source>{name} is one object with several lists of rows: {lists}.</source>
            <translation>{name} ist ein Objekt mit mehreren Listen von Zeilen: {lists}.</translation>
        </message>
        <message>
            <source>{name} is open in another window, so it is read-only here.</source>
            <translation>{name} ist in einem anderen Fenster geöffnet und hier deshalb schreibgeschützt.</translation>
        </message>
        <message>
            <source>{name} is protected by a password.</source>
            <translation>{name} ist durch ein Passwort geschützt.</translation>
        </message>
        <message>
            <source>{name} is too large for a file that has to be read at once: the limit is {most:size}, or {values} values.</source>
            <translation>{name} ist zu groß für eine Datei, die auf einmal gelesen werden muss: Die Grenze sind {most:size} oder {values} Werte.</translation>
        </message>
        <message>
            <source>{name} is too large: a file with this layout has to be read into memory at once.</source>
            <translation>{name} ist zu groß: Eine Datei mit diesem Aufbau muss auf einmal in den Speicher gelesen werden.</translation>
        </message>
        <message>
            <source>{name} is {value}, but must be at least 1</source>
            <translation>{name} ist {value}, muss aber mindestens 1 sein</translation>
        </message>
        <message>
            <source>{name} is {value}, more than {limit:d}</source>
            <translation>{name} ist {value}, mehr als {limit:d}</translation>
        </message>
        <message>
            <source>{name} requires custom code from {value}</source>
            <translation>{name} erfordert eigenen Code von {value}</translation>
        </message>
        <message>
            <source>{name} unpacks to more than {most:size}, over {times} times its size. It may be a decompression bomb.</source>
            <translation>{name} ergibt entpackt mehr als {most:size}, also mehr als das {times}-Fache der Dateigröße. Es könnte eine Dekompressionsbombe sein.</translation>
        </message>
        <message>
            <source>{name}, {width} × {height} pixels</source>
            <translation>{name}, {width} × {height} Pixel</translation>
        </message>
        <message>
            <source>{name}: {size}</source>
            <translation>{name}: {size}</translation>
        </message>
        <message>
            <source>{nats:.2g} nats are expected at {parameters:count} parameters, interpolated between SmolLM2 135M (measured) and Llama 3 8B (published); twice that is allowed</source>
            <translation>bei {parameters:count} Parametern sind {nats:.2g} Nats zu erwarten, interpoliert zwischen SmolLM2 135M (gemessen) und Llama 3 8B (veröffentlicht); das Doppelte ist erlaubt</translation>
        </message>
        <message>
            <source>{needed} required, {free} available</source>
            <translation>{needed} benötigt, {free} verfügbar</translation>
        </message>
        <message>
            <source>{needed} required, {free} free</source>
            <translation>{needed} erforderlich, {free} frei</translation>
        </message>
        <message numerus="yes">
            <source>{n} GPUs</source>
            <translation>
                <numerusform>{n} GPU</numerusform>
                <numerusform>{n} GPUs</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} adapters</source>
            <translation>
                <numerusform>{n} Adapter</numerusform>
                <numerusform>{n} Adapter</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} answer tokens</source>
            <translation>
                <numerusform>{n} Antwort-Token</numerusform>
                <numerusform>{n} Antwort-Tokens</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} answers of row {row:d} can't be trained: the chat template renders earlier turns differently later on.</source>
            <translation>
                <numerusform>{n} Antwort in Zeile {row:d} kann nicht trainiert werden: Die Chat-Vorlage gibt frühere Beiträge später anders aus.</numerusform>
                <numerusform>{n} Antworten in Zeile {row:d} können nicht trainiert werden: Die Chat-Vorlage gibt frühere Beiträge später anders aus.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} comparisons</source>
            <translation>
                <numerusform>{n} Vergleich</numerusform>
                <numerusform>{n} Vergleichen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} conversations</source>
            <translation>
                <numerusform>{n} Gespräch</numerusform>
                <numerusform>{n} Gespräche</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} conversations of {rows} checked continue after the last answer.</source>
            <translation>
                <numerusform>{n} von {rows} geprüften Gesprächen geht nach der letzten Antwort weiter.</numerusform>
                <numerusform>{n} von {rows} geprüften Gesprächen gehen nach der letzten Antwort weiter.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} days ago</source>
            <translation>
                <numerusform>vor {n} Tag</numerusform>
                <numerusform>vor {n} Tagen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} hours ago</source>
            <translation>
                <numerusform>vor {n} Stunde</numerusform>
                <numerusform>vor {n} Stunden</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} items</source>
            <translation>
                <numerusform>{n} Aufgabe</numerusform>
                <numerusform>{n} Aufgaben</numerusform>
            </translation>
        </message>
        <message>
            <source>{n} items are too few: only a loss of about {smallest} points or more would show.</source>
            <translation>{n} Aufgaben sind zu wenige: Erst ein Verlust von etwa {smallest} Punkten würde sich zeigen.</translation>
        </message>
        <message numerus="yes">
            <source>{n} items that all evaluations have</source>
            <translation>
                <numerusform>{n} Aufgabe, die alle Auswertungen haben</numerusform>
                <numerusform>{n} Aufgaben, die alle Auswertungen haben</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} labels</source>
            <translation>
                <numerusform>{n} Label</numerusform>
                <numerusform>{n} Labels</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} layers are fused.</source>
            <translation>
                <numerusform>{n} Schicht ist fusioniert.</numerusform>
                <numerusform>{n} Schichten sind fusioniert.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} losses</source>
            <translation>
                <numerusform>{n} Niederlage</numerusform>
                <numerusform>{n} Niederlagen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} minutes ago</source>
            <translation>
                <numerusform>vor {n} Minute</numerusform>
                <numerusform>vor {n} Minuten</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} models</source>
            <translation>
                <numerusform>{n} Modell</numerusform>
                <numerusform>{n} Modelle</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} more</source>
            <translation>
                <numerusform>{n} weiteres</numerusform>
                <numerusform>{n} weitere</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} more differences</source>
            <translation>
                <numerusform>{n} weiterer Unterschied</numerusform>
                <numerusform>{n} weitere Unterschiede</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} more labels aren't shown.</source>
            <translation>
                <numerusform>{n} weiteres Label wird nicht gezeigt.</numerusform>
                <numerusform>{n} weitere Labels werden nicht gezeigt.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} of the runs can no longer be resumed.</source>
            <translation>
                <numerusform>{n} der Läufe lässt sich dann nicht mehr fortsetzen.</numerusform>
                <numerusform>{n} der Läufe lassen sich dann nicht mehr fortsetzen.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} pairs, {negatives} with a hard negative: {queries} different queries, {passages} different passages.</source>
            <translation>
                <numerusform>{n} Paar, {negatives} mit schwerem Negativbeispiel: {queries} verschiedene Suchanfragen, {passages} verschiedene Texte.</numerusform>
                <numerusform>{n} Paare, {negatives} mit schwerem Negativbeispiel: {queries} verschiedene Suchanfragen, {passages} verschiedene Texte.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} problems</source>
            <translation>
                <numerusform>{n} Problem</numerusform>
                <numerusform>{n} Probleme</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} queued</source>
            <translation>
                <numerusform>{n} wartet</numerusform>
                <numerusform>{n} warten</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} queued runs</source>
            <translation>
                <numerusform>{n} Lauf in der Warteschlange</numerusform>
                <numerusform>{n} Läufe in der Warteschlange</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows</source>
            <translation>
                <numerusform>{n} Zeile</numerusform>
                <numerusform>{n} Zeilen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows are too few to compare; use at least {least}.</source>
            <translation>
                <numerusform>Eine Zeile reicht für einen Vergleich nicht; verwenden Sie mindestens {least}.</numerusform>
                <numerusform>{n} Zeilen reichen für einen Vergleich nicht; verwenden Sie mindestens {least}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows checked. Fixes are saved in the project; your files don't change.</source>
            <translation>
                <numerusform>{n} Zeile geprüft. Korrekturen werden im Projekt gespeichert; Ihre Dateien ändern sich nicht.</numerusform>
                <numerusform>{n} Zeilen geprüft. Korrekturen werden im Projekt gespeichert; Ihre Dateien ändern sich nicht.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows checked. No problems found.</source>
            <translation>
                <numerusform>{n} Zeile geprüft. Keine Probleme gefunden.</numerusform>
                <numerusform>{n} Zeilen geprüft. Keine Probleme gefunden.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {file} can't be read and aren't classified: {reasons}.</source>
            <translation>
                <numerusform>{n} Zeile von {file} ist nicht lesbar und wird nicht klassifiziert: {reasons}.</numerusform>
                <numerusform>{n} Zeilen von {file} sind nicht lesbar und werden nicht klassifiziert: {reasons}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {rows} checked contain images, audio, or video ({columns}). LoRA Studio can't train on them yet.</source>
            <translation>
                <numerusform>{n} von {rows} geprüften Zeilen enthält Bilder, Audio oder Video ({columns}). Damit kann LoRA Studio noch nicht trainieren.</numerusform>
                <numerusform>{n} von {rows} geprüften Zeilen enthalten Bilder, Audio oder Video ({columns}). Damit kann LoRA Studio noch nicht trainieren.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {rows} checked contain images, audio, or video, or refer to them with placeholders such as &lt;image&gt;. LoRA Studio can't train on them yet.</source>
            <translation>
                <numerusform>{n} von {rows} geprüften Zeilen enthält Bilder, Audio oder Video oder verweist mit einem Platzhalter wie &lt;image&gt; darauf. Damit kann LoRA Studio noch nicht trainieren.</numerusform>
                <numerusform>{n} von {rows} geprüften Zeilen enthalten Bilder, Audio oder Video oder verweisen mit Platzhaltern wie &lt;image&gt; darauf. Damit kann LoRA Studio noch nicht trainieren.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {rows} checked have markers of a gap to fill in code, such as {mark}. Only some models have them.</source>
            <translation>
                <numerusform>{n} von {rows} geprüften Zeilen enthält Markierungen für eine Lücke im Code, zum Beispiel {mark}. Nur manche Modelle haben sie.</numerusform>
                <numerusform>{n} von {rows} geprüften Zeilen enthalten Markierungen für eine Lücke im Code, zum Beispiel {mark}. Nur manche Modelle haben sie.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {rows} checked have other columns. They are read as {formats}.</source>
            <translation>
                <numerusform>{n} von {rows} geprüften Zeilen hat andere Spalten. Sie wird als {formats} gelesen.</numerusform>
                <numerusform>{n} von {rows} geprüften Zeilen haben andere Spalten. Sie werden als {formats} gelesen.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {rows} checked have several answers. Only the first one is used.</source>
            <translation>
                <numerusform>{n} von {rows} geprüften Zeilen hat mehrere Antworten. Nur die erste wird verwendet.</numerusform>
                <numerusform>{n} von {rows} geprüften Zeilen haben mehrere Antworten. Nur die erste wird verwendet.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {total} continue a conversation that “{column}” names. Each is read with the rows before it, and only its own answer is trained.</source>
            <translation>
                <numerusform>{n} Zeile von {total} setzt ein Gespräch fort, das „{column}“ nennt. Sie wird mit den Zeilen davor gelesen, und nur ihre eigene Antwort wird trainiert.</numerusform>
                <numerusform>{n} Zeilen von {total} setzen ein Gespräch fort, das „{column}“ nennt. Jede wird mit den Zeilen davor gelesen, und nur ihre eigene Antwort wird trainiert.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows of {total} continue from the row that “{column}” refers to. Each is read with the conversation before it, and only its own answer is trained.</source>
            <translation>
                <numerusform>{n} Zeile von {total} setzt die Zeile fort, auf die „{column}“ verweist. Sie wird mit dem Gespräch davor gelesen, und nur ihre eigene Antwort wird trainiert.</numerusform>
                <numerusform>{n} Zeilen von {total} setzen die Zeile fort, auf die „{column}“ verweist. Jede wird mit dem Gespräch davor gelesen, und nur ihre eigene Antwort wird trainiert.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows read: {used} used, {skipped} skipped</source>
            <translation>
                <numerusform>{n} Zeile gelesen: {used} verwendet, {skipped} übersprungen</numerusform>
                <numerusform>{n} Zeilen gelesen: {used} verwendet, {skipped} übersprungen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows skipped for other reasons</source>
            <translation>
                <numerusform>{n} Zeile aus anderen Gründen übersprungen</numerusform>
                <numerusform>{n} Zeilen aus anderen Gründen übersprungen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows skipped: {reason}</source>
            <translation>
                <numerusform>{n} Zeile übersprungen: {reason}</numerusform>
                <numerusform>{n} Zeilen übersprungen: {reason}</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows so far</source>
            <translation>
                <numerusform>bisher {n} Zeile</numerusform>
                <numerusform>bisher {n} Zeilen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} rows were trained on and are left out.</source>
            <translation>
                <numerusform>{n} Zeile kam im Training vor und wird ausgelassen.</numerusform>
                <numerusform>{n} Zeilen kamen im Training vor und werden ausgelassen.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} runs</source>
            <translation>
                <numerusform>{n} Lauf</numerusform>
                <numerusform>{n} Läufe</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} runs are queued. Start them on the Runs page.</source>
            <translation>
                <numerusform>{n} Lauf ist in der Warteschlange. Starten Sie ihn auf der Seite „Läufe“.</numerusform>
                <numerusform>{n} Läufe sind in der Warteschlange. Starten Sie sie auf der Seite „Läufe“.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} runs in the queue.</source>
            <translation>
                <numerusform>{n} Lauf in der Warteschlange.</numerusform>
                <numerusform>{n} Läufe in der Warteschlange.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} runs, about {time} in total</source>
            <translation>
                <numerusform>{n} Lauf, etwa {time}</numerusform>
                <numerusform>{n} Läufe, insgesamt etwa {time}</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} runs. An estimate of the time appears after the first run.</source>
            <translation>
                <numerusform>{n} Lauf. Eine Zeitschätzung erscheint nach dem ersten Lauf.</numerusform>
                <numerusform>{n} Läufe. Eine Zeitschätzung erscheint nach dem ersten Lauf.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} settings</source>
            <translation>
                <numerusform>{n} Einstellung</numerusform>
                <numerusform>{n} Einstellungen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} steps (step limit), {per_epoch} per epoch.</source>
            <translation>
                <numerusform>{n} Schritt (Schrittgrenze), {per_epoch} pro Epoche.</numerusform>
                <numerusform>{n} Schritte (Schrittgrenze), {per_epoch} pro Epoche.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} steps are too few to judge the loss curve.</source>
            <translation>
                <numerusform>Ein Schritt ist zu wenig, um die Loss-Kurve zu beurteilen.</numerusform>
                <numerusform>{n} Schritte sind zu wenig, um die Loss-Kurve zu beurteilen.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} steps with rewards are too few to judge them.</source>
            <translation>
                <numerusform>Ein Schritt mit Belohnungen ist zu wenig, um sie zu beurteilen.</numerusform>
                <numerusform>{n} Schritte mit Belohnungen sind zu wenig, um sie zu beurteilen.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} steps, {per_epoch} per epoch.</source>
            <translation>
                <numerusform>{n} Schritt, {per_epoch} pro Epoche.</numerusform>
                <numerusform>{n} Schritte, {per_epoch} pro Epoche.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} steps; the smoothed loss is {loss:loss}.</source>
            <translation>
                <numerusform>{n} Schritt; der geglättete Loss beträgt {loss:loss}.</numerusform>
                <numerusform>{n} Schritte; der geglättete Loss beträgt {loss:loss}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} steps; the smoothed mean reward is {value:loss}.</source>
            <translation>
                <numerusform>{n} Schritt; die geglättete mittlere Belohnung ist {value:loss}.</numerusform>
                <numerusform>{n} Schritte; die geglättete mittlere Belohnung ist {value:loss}.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} tensors</source>
            <translation>
                <numerusform>{n} Tensor</numerusform>
                <numerusform>{n} Tensoren</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} tensors and all settings, tokens, and templates were compared by value</source>
            <translation>
                <numerusform>{n} Tensor sowie alle Einstellungen, Tokens und Vorlagen wurden Wert für Wert verglichen</numerusform>
                <numerusform>{n} Tensoren sowie alle Einstellungen, Tokens und Vorlagen wurden Wert für Wert verglichen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} tensors and {keys} keys were compared by value</source>
            <translation>
                <numerusform>{n} Tensor und {keys} Schlüssel wurden Wert für Wert verglichen</numerusform>
                <numerusform>{n} Tensoren und {keys} Schlüssel wurden Wert für Wert verglichen</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} texts are longer than the max. sequence length; only their beginning was classified.</source>
            <translation>
                <numerusform>{n} Text ist länger als die max. Sequenzlänge; nur sein Anfang wurde klassifiziert.</numerusform>
                <numerusform>{n} Texte sind länger als die max. Sequenzlänge; nur ihr Anfang wurde klassifiziert.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} ties</source>
            <translation>
                <numerusform>{n} Unentschieden</numerusform>
                <numerusform>{n} Unentschieden</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} tokens</source>
            <translation>
                <numerusform>{n} Token</numerusform>
                <numerusform>{n} Token</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} votes in blind tests of this project. A tie counts as half a win for each model.</source>
            <translation>
                <numerusform>{n} Stimme in Blindtests dieses Projekts. Unentschieden zählt für jedes Modell als halber Sieg.</numerusform>
                <numerusform>{n} Stimmen in Blindtests dieses Projekts. Unentschieden zählt für jedes Modell als halber Sieg.</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} wins</source>
            <translation>
                <numerusform>{n} Sieg</numerusform>
                <numerusform>{n} Siege</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{n} without a verdict</source>
            <translation>
                <numerusform>{n} ohne Urteil</numerusform>
                <numerusform>{n} ohne Urteil</numerusform>
            </translation>
        </message>
        <message>
            <source>{optimizer} needs bitsandbytes, which doesn't support Apple GPUs.</source>
            <translation>{optimizer} braucht bitsandbytes, das keine Apple-GPUs unterstützt.</translation>
        </message>
        <message>
            <source>{optimizer} needs the package {package}, which isn't installed.</source>
            <translation>{optimizer} braucht das Paket {package}, das nicht installiert ist.</translation>
        </message>
        <message>
            <source>{package} has no prebuilt wheel for this computer.</source>
            <translation>Für {package} gibt es kein vorkompiliertes Wheel für diesen Computer.</translation>
        </message>
        <message>
            <source>{parameter} (added by the server: {actual})</source>
            <translation>{parameter} (vom Server hinzugefügt: {actual})</translation>
        </message>
        <message>
            <source>{parameter} (missing)</source>
            <translation>{parameter} (fehlt)</translation>
        </message>
        <message>
            <source>{parameter} ({actual} instead of {expected})</source>
            <translation>{parameter} ({actual} statt {expected})</translation>
        </message>
        <message>
            <source>{parameter} is not a tolerance.</source>
            <translation>{parameter} ist keine Toleranz.</translation>
        </message>
        <message>
            <source>{parts}. Trained tokens per epoch: {tokens:count}.</source>
            <translation>{parts}. Trainierte Token pro Epoche: {tokens:count}.</translation>
        </message>
        <message>
            <source>{parts}. {count} labels: {labels}.</source>
            <translation>{parts}. {count} Labels: {labels}.</translation>
        </message>
        <message>
            <source>{path} already exists.</source>
            <translation>{path} gibt es schon.</translation>
        </message>
        <message>
            <source>{path} can't be read: {reason}.</source>
            <translation>{path} kann nicht gelesen werden: {reason}.</translation>
        </message>
        <message>
            <source>{path} contains no project file.</source>
            <translation>{path} enthält keine Projektdatei.</translation>
        </message>
        <message>
            <source>{path} contains several project files.</source>
            <translation>{path} enthält mehrere Projektdateien.</translation>
        </message>
        <message>
            <source>{path} doesn't exist.</source>
            <translation>{path} existiert nicht.</translation>
        </message>
        <message>
            <source>{path} has no config.json, so it isn't a Hugging Face model.</source>
            <translation>{path} hat keine config.json und ist daher kein Hugging-Face-Modell.</translation>
        </message>
        <message>
            <source>{path} is missing.</source>
            <translation>{path} fehlt.</translation>
        </message>
        <message>
            <source>{path} is missing. The run was created with it.</source>
            <translation>{path} fehlt. Der Lauf wurde damit angelegt.</translation>
        </message>
        <message>
            <source>{path} is missing. When the run was created, it was {old}.</source>
            <translation>{path} fehlt. Als der Lauf angelegt wurde, war es {old}.</translation>
        </message>
        <message>
            <source>{path} isn't a model file.</source>
            <translation>{path} ist keine Modelldatei.</translation>
        </message>
        <message>
            <source>{path} isn't a run folder.</source>
            <translation>{path} ist kein Ordner eines Laufs.</translation>
        </message>
        <message>
            <source>{precision} precision needs the package bitsandbytes, which is not installed.</source>
            <translation>Die Genauigkeit {precision} braucht das Paket bitsandbytes, das nicht installiert ist.</translation>
        </message>
        <message>
            <source>{problem} The file is valid, but the model's answers are worse than those of your trained adapter.</source>
            <translation>{problem} Die Datei ist gültig, aber das Modell antwortet schlechter als Ihr trainierter Adapter.</translation>
        </message>
        <message>
            <source>{process} exited with status {number:d}. Training can't continue without it.</source>
            <translation>{process} hat sich mit Status {number:d} beendet. Ohne ihn kann das Training nicht weiterlaufen.</translation>
        </message>
        <message>
            <source>{process} ran out of memory and was killed by the system.</source>
            <translation>{process} hatte nicht genug Speicher und wurde vom System beendet.</translation>
        </message>
        <message>
            <source>{process} stopped with an error: {reason}</source>
            <translation>{process} wurde durch einen Fehler beendet: {reason}</translation>
        </message>
        <message>
            <source>{process} was killed by signal {number:d}. Training can't continue without it.</source>
            <translation>{process} wurde durch Signal {number:d} beendet. Ohne ihn kann das Training nicht weiterlaufen.</translation>
        </message>
        <message>
            <source>{program} can't use the chat template: {reason}.</source>
            <translation>{program} kann die Chat-Vorlage nicht verwenden: {reason}.</translation>
        </message>
        <message>
            <source>{program} didn't start: {reason}.</source>
            <translation>{program} ist nicht gestartet: {reason}.</translation>
        </message>
        <message>
            <source>{program} doesn't support the architecture {architecture}.</source>
            <translation>{program} unterstützt die Architektur {architecture} nicht.</translation>
        </message>
        <message>
            <source>{program} stopped: {reason}.</source>
            <translation>{program} wurde beendet: {reason}.</translation>
        </message>
        <message>
            <source>{program} {version} doesn't support the architecture {architecture}.</source>
            <translation>{program} {version} unterstützt die Architektur {architecture} nicht.</translation>
        </message>
        <message>
            <source>{program}, llama.cpp's server, was not found in {searched}.</source>
            <translation>{program}, der Server von llama.cpp, wurde hier nicht gefunden: {searched}.</translation>
        </message>
        <message>
            <source>{purpose} needs {needed:size} of free disk space, of which {reserve:size} are a reserve, but only {free:size} is free.</source>
            <translation>{purpose} braucht {needed:size} freien Speicherplatz, davon {reserve:size} als Reserve, aber nur {free:size} sind frei.</translation>
        </message>
        <message>
            <source>{quantization} loses a lot of this model's precision: the cosine similarity of its vectors to the trained ones is {least:.2f} at least and {mean:.2f} on average. The file is correct, but has too few bits.</source>
            <translation>{quantization} verliert viel von der Genauigkeit dieses Modells: Die Kosinusähnlichkeit seiner Vektoren zu den trainierten beträgt mindestens {least:.2f} und im Durchschnitt {mean:.2f}. Die Datei ist korrekt, hat aber zu wenige Bits.</translation>
        </message>
        <message>
            <source>{quantization} loses a lot of this model's precision: the top-1 agreement is {top1:percent}, the KL divergence {kl:.2g} nats. The file is correct, but has too few bits.</source>
            <translation>Mit {quantization} verliert dieses Modell viel Genauigkeit: Die Top-1-Übereinstimmung beträgt {top1:percent}, die KL-Divergenz {kl:.2g} Nats. Die Datei ist korrekt, hat aber zu wenige Bits.</translation>
        </message>
        <message>
            <source>{quantization} loses so much precision that its self-test failed. Nothing else is wrong.</source>
            <translation>{quantization} verliert so viel Genauigkeit, dass der Selbsttest fehlgeschlagen ist. Sonst ist alles in Ordnung.</translation>
        </message>
        <message>
            <source>{quantization} needs an importance matrix.</source>
            <translation>{quantization} braucht eine Importance-Matrix.</translation>
        </message>
        <message>
            <source>{rank}, alpha {alpha}</source>
            <translation>{rank}, Alpha {alpha}</translation>
        </message>
        <message numerus="yes">
            <source>{reason} ({n} rows, starting with row {row:d})</source>
            <translation>
                <numerusform>{reason} (Zeile {row:d})</numerusform>
                <numerusform>{reason} ({n} Zeilen, zuerst Zeile {row:d})</numerusform>
            </translation>
        </message>
        <message>
            <source>{reason} Even with gradient checkpointing, a single row doesn't fit.</source>
            <translation>{reason} Selbst mit Gradient Checkpointing passt nicht einmal eine einzelne Zeile.</translation>
        </message>
        <message>
            <source>{reason} With sharded weights, training has to restart from its last checkpoint.</source>
            <translation>{reason} Mit aufgeteilten Gewichten muss das Training ab seinem letzten Checkpoint neu starten.</translation>
        </message>
        <message>
            <source>{reason} You can resume it from the checkpoint at step {checkpoint}.</source>
            <translation>{reason} Sie können es beim Checkpoint von Schritt {checkpoint} fortsetzen.</translation>
        </message>
        <message>
            <source>{reason}. The prompt differs for {kinds}. For “{question}” it has {actual} instead of {expected}.</source>
            <translation>{reason}. Der Prompt unterscheidet sich bei: {kinds}. Bei „{question}“ enthält er {actual} statt {expected}.</translation>
        </message>
        <message>
            <source>{reason}. The prompt differs for {kinds}. For “{question}” the server refuses: {refused}</source>
            <translation>{reason}. Der Prompt unterscheidet sich bei: {kinds}. Bei „{question}“ lehnt der Server ab: {refused}</translation>
        </message>
        <message>
            <source>{reason}: a Go template can't express {constructs}</source>
            <translation>{reason}: eine Go-Vorlage kann {constructs} nicht ausdrücken</translation>
        </message>
        <message>
            <source>{repository} already exists and is public: everyone can see what you upload.</source>
            <translation>{repository} gibt es schon und es ist öffentlich: alle können sehen, was Sie hochladen.</translation>
        </message>
        <message>
            <source>{repository} doesn't exist on the Hub, or you don't have access to it.</source>
            <translation>{repository} gibt es auf dem Hub nicht, oder Sie haben keinen Zugriff darauf.</translation>
        </message>
        <message>
            <source>{repository} has no .safetensors file.</source>
            <translation>{repository} enthält keine .safetensors-Datei.</translation>
        </message>
        <message>
            <source>{repository} has no branch, tag, or commit named {revision}.</source>
            <translation>{repository} hat keinen Branch, Tag oder Commit namens {revision}.</translation>
        </message>
        <message>
            <source>{repository} has no readable .safetensors file.</source>
            <translation>{repository} enthält keine lesbare .safetensors-Datei.</translation>
        </message>
        <message>
            <source>{repository} has only pickle weights. Pickle files can run any code when they are opened, so they are never loaded.</source>
            <translation>{repository} hat nur Gewichte im Pickle-Format. Pickle-Dateien können beim Öffnen beliebigen Code ausführen und werden deshalb nie geladen.</translation>
        </message>
        <message>
            <source>{repository} is gated: you must accept its terms first.</source>
            <translation>{repository} ist zugangsbeschränkt: Sie müssen zuerst die Bedingungen akzeptieren.</translation>
        </message>
        <message>
            <source>{repository} is neither a folder nor a Hub ID.</source>
            <translation>{repository} ist weder ein Ordner noch eine Hub-ID.</translation>
        </message>
        <message>
            <source>{repository} is not on this computer and the Hub can't be reached.</source>
            <translation>{repository} ist nicht auf diesem Computer und der Hub ist nicht erreichbar.</translation>
        </message>
        <message>
            <source>{rows} can't be used for training: {reason}.</source>
            <translation>{rows} nicht für das Training verwendbar: {reason}.</translation>
        </message>
        <message>
            <source>{rows} truncated to the maximum sequence length</source>
            <translation>{rows} auf die maximale Sequenzlänge gekürzt</translation>
        </message>
        <message>
            <source>{rows} validation rows: accuracy {accuracy}, macro F1 {f1}</source>
            <translation>{rows} Validierungszeilen: Genauigkeit {accuracy}, Makro-F1 {f1}</translation>
        </message>
        <message>
            <source>{rows}, {n} per epoch</source>
            <translation>{rows}, {n} pro Epoche</translation>
        </message>
        <message>
            <source>{run:run} trained an embedding model, whose adapter can't be served on the base model.</source>
            <translation>{run:run} hat ein Embedding-Modell trainiert, dessen Adapter nicht auf dem Basismodell bereitgestellt werden kann.</translation>
        </message>
        <message>
            <source>{run:run} was trained on another base model than {first:run}.</source>
            <translation>{run:run} wurde mit einem anderen Basismodell trainiert als {first:run}.</translation>
        </message>
        <message>
            <source>{run:run} was trained with another chat template than {first:run}, whose template is served.</source>
            <translation>{run:run} wurde mit einer anderen Chat-Vorlage trainiert als {first:run}; bereitgestellt wird die zweite.</translation>
        </message>
        <message>
            <source>{run} has no adapter to continue from.</source>
            <translation>{run} hat keinen Adapter, mit dem es weitergehen könnte.</translation>
        </message>
        <message>
            <source>{run} wasn't deleted: a job is running in it.</source>
            <translation>{run} wurde nicht gelöscht: Darin läuft ein Auftrag.</translation>
        </message>
        <message>
            <source>{setting}: {value}</source>
            <translation>{setting}: {value}</translation>
        </message>
        <message>
            <source>{setting}: {value} {unit}</source>
            <translation>{setting}: {value} {unit}</translation>
        </message>
        <message>
            <source>{shown} of {known}</source>
            <translation>{shown} von {known}</translation>
        </message>
        <message numerus="yes">
            <source>{size} ({n} packages)</source>
            <translation>
                <numerusform>{size} ({n} Paket)</numerusform>
                <numerusform>{size} ({n} Pakete)</numerusform>
            </translation>
        </message>
        <message numerus="yes">
            <source>{size} ({n} packages, {installed} already installed)</source>
            <translation>
                <numerusform>{size} ({n} Paket, {installed} schon installiert)</numerusform>
                <numerusform>{size} ({n} Pakete, {installed} schon installiert)</numerusform>
            </translation>
        </message>
        <message>
            <source>{size} of this is checkpoints</source>
            <translation>davon {size} Checkpoints</translation>
        </message>
        <message>
            <source>{size}, including {checkpoints} of checkpoints</source>
            <translation>{size}, davon {checkpoints} Checkpoints</translation>
        </message>
        <message>
            <source>{stage} differs from what was trained: {faults}.</source>
            <translation>{stage} weicht vom Trainierten ab: {faults}.</translation>
        </message>
        <message>
            <source>{stage} differs from what was trained: {faults}. Most likely cause: {cause}.</source>
            <translation>{stage} weicht vom Trainierten ab: {faults}. Wahrscheinlichste Ursache: {cause}.</translation>
        </message>
        <message>
            <source>{state}, step {step} of {steps}</source>
            <translation>{state}, Schritt {step} von {steps}</translation>
        </message>
        <message>
            <source>{step} of {steps}</source>
            <translation>{step} von {steps}</translation>
        </message>
        <message>
            <source>{task}: the disk is full.</source>
            <translation>{task}: Die Festplatte ist voll.</translation>
        </message>
        <message>
            <source>{task}: the disk is read-only.</source>
            <translation>{task}: Die Festplatte ist schreibgeschützt.</translation>
        </message>
        <message>
            <source>{tensor} contains NaN or infinite values</source>
            <translation>{tensor} enthält NaN oder unendliche Werte</translation>
        </message>
        <message>
            <source>{tensor} contains only zeros</source>
            <translation>{tensor} enthält nur Nullen</translation>
        </message>
        <message>
            <source>{tensor} contains the values of {actual}</source>
            <translation>{tensor} enthält die Werte von {actual}</translation>
        </message>
        <message>
            <source>{tensor} differs from what was trained in {rows} of {total} rows</source>
            <translation>{tensor} weicht in {rows} von {total} Zeilen vom trainierten Modell ab</translation>
        </message>
        <message>
            <source>{tensor} has its rows in the wrong order</source>
            <translation>die Zeilen von {tensor} sind in der falschen Reihenfolge</translation>
        </message>
        <message>
            <source>{tensor} has the adapter's update at {factor:.2f} times its scale</source>
            <translation>{tensor} enthält die Änderung des Adapters mit dem {factor:.2f}-Fachen der Skalierung</translation>
        </message>
        <message>
            <source>{tensor} has the shape {actual} instead of {expected}</source>
            <translation>{tensor} hat die Form {actual} statt {expected}</translation>
        </message>
        <message>
            <source>{tensor} has the shape {stored} in the base model and {wanted} in the adapter</source>
            <translation>{tensor} hat im Basismodell die Form {stored} und im Adapter {wanted}</translation>
        </message>
        <message>
            <source>{tensor} has the shape {stored}, but config.json requires {needed}</source>
            <translation>{tensor} hat die Form {stored}, config.json verlangt aber {needed}</translation>
        </message>
        <message>
            <source>{tensor} has the unknown format {dtype}</source>
            <translation>{tensor} hat das unbekannte Format {dtype}</translation>
        </message>
        <message>
            <source>{tensor} is a part of {parameter}</source>
            <translation>{tensor} ist ein Teil von {parameter}</translation>
        </message>
        <message>
            <source>{tensor} is in two files</source>
            <translation>{tensor} ist in zwei Dateien enthalten</translation>
        </message>
        <message>
            <source>{tensor} is in {actual} instead of {expected}</source>
            <translation>{tensor} ist in {actual} statt in {expected}</translation>
        </message>
        <message>
            <source>{tensor} is missing</source>
            <translation>{tensor} fehlt</translation>
        </message>
        <message>
            <source>{tensor} is not part of the trained model</source>
            <translation>{tensor} gehört nicht zum trainierten Modell</translation>
        </message>
        <message>
            <source>{tensor} is square, so its orientation is ambiguous</source>
            <translation>{tensor} ist quadratisch, seine Ausrichtung ist daher mehrdeutig</translation>
        </message>
        <message>
            <source>{tensor} is still the base model's, without the adapter</source>
            <translation>{tensor} ist noch der Tensor des Basismodells, ohne den Adapter</translation>
        </message>
        <message>
            <source>{tensor} is stored as {actual} instead of {expected}</source>
            <translation>{tensor} ist als {actual} statt als {expected} gespeichert</translation>
        </message>
        <message>
            <source>{tensor} is stored as {dtype}</source>
            <translation>{tensor} ist als {dtype} gespeichert</translation>
        </message>
        <message>
            <source>{time} left</source>
            <translation>noch {time}</translation>
        </message>
        <message>
            <source>{titles} and {n} more</source>
            <translation>{titles} und {n} weitere</translation>
        </message>
        <message>
            <source>{title} changes {settings}: {changes}</source>
            <translation>{title} ändert {settings}: {changes}</translation>
        </message>
        <message>
            <source>{title} failed: a file grew larger than its disk allows.</source>
            <translation>{title} ist fehlgeschlagen: eine Datei wurde größer, als ihr Datenträger erlaubt.</translation>
        </message>
        <message>
            <source>{title} failed: a regular expression of the model's tokenizer takes too long.</source>
            <translation>{title} ist fehlgeschlagen: Ein regulärer Ausdruck im Tokenizer des Modells braucht zu lange.</translation>
        </message>
        <message>
            <source>{title} failed: no folder for temporary files is writable.</source>
            <translation>{title} ist fehlgeschlagen: Kein Ordner für temporäre Dateien ist beschreibbar.</translation>
        </message>
        <message>
            <source>{title} failed: no permission to use a file.</source>
            <translation>{title} ist fehlgeschlagen: keine Berechtigung für eine Datei.</translation>
        </message>
        <message>
            <source>{title} failed: no permission to use {file}.</source>
            <translation>{title} ist fehlgeschlagen: keine Berechtigung für {file}.</translation>
        </message>
        <message>
            <source>{title} failed: the GPU reported an error ({reason}).</source>
            <translation>{title} ist fehlgeschlagen: Die GPU hat einen Fehler gemeldet ({reason}).</translation>
        </message>
        <message>
            <source>{title} failed: the cache folder {folder} can't be written to ({reason}).</source>
            <translation>{title} ist fehlgeschlagen: In den Cache-Ordner {folder} kann nicht geschrieben werden ({reason}).</translation>
        </message>
        <message>
            <source>{title} failed: the disk is full.</source>
            <translation>{title} ist fehlgeschlagen: der Datenträger ist voll.</translation>
        </message>
        <message>
            <source>{title} failed: the disk is read-only.</source>
            <translation>{title} ist fehlgeschlagen: Der Datenträger ist schreibgeschützt.</translation>
        </message>
        <message>
            <source>{title} failed: the disk reported an error for {file}.</source>
            <translation>{title} ist fehlgeschlagen: Der Datenträger hat bei {file} einen Fehler gemeldet.</translation>
        </message>
        <message>
            <source>{title} failed: the disk reported an error.</source>
            <translation>{title} ist fehlgeschlagen: Der Datenträger hat einen Fehler gemeldet.</translation>
        </message>
        <message>
            <source>{title} failed: the disk with {file} is read-only.</source>
            <translation>{title} ist fehlgeschlagen: Der Datenträger mit {file} ist schreibgeschützt.</translation>
        </message>
        <message>
            <source>{title} failed: the model computes NaN or infinite values.</source>
            <translation>{title} ist fehlgeschlagen: Das Modell berechnet NaN oder unendliche Werte.</translation>
        </message>
        <message>
            <source>{title} failed: the system didn't allow enough memory to load a library.</source>
            <translation>{title} ist fehlgeschlagen: Das System hat nicht genug Speicher erlaubt, um eine Bibliothek zu laden.</translation>
        </message>
        <message>
            <source>{title} failed: the system doesn't allow more processes or threads.</source>
            <translation>{title} ist fehlgeschlagen: Das System erlaubt keine weiteren Prozesse oder Threads.</translation>
        </message>
        <message>
            <source>{title} failed: too many files are open.</source>
            <translation>{title} ist fehlgeschlagen: Es sind zu viele Dateien geöffnet.</translation>
        </message>
        <message>
            <source>{title} failed: your disk quota is used up.</source>
            <translation>{title} ist fehlgeschlagen: Ihr Speicherkontingent auf dem Datenträger ist aufgebraucht.</translation>
        </message>
        <message>
            <source>{title} failed: {file} can't be used, because {reason}.</source>
            <translation>{title} ist fehlgeschlagen: {file} kann nicht verwendet werden ({reason}).</translation>
        </message>
        <message>
            <source>{title} failed: {file} is a file, but must be a folder.</source>
            <translation>{title} ist fehlgeschlagen: {file} ist eine Datei, muss aber ein Ordner sein.</translation>
        </message>
        <message>
            <source>{title} failed: {file} is a folder, but must be a file.</source>
            <translation>{title} ist fehlgeschlagen: {file} ist ein Ordner, muss aber eine Datei sein.</translation>
        </message>
        <message>
            <source>{title} failed: {file} is missing.</source>
            <translation>{title} ist fehlgeschlagen: {file} fehlt.</translation>
        </message>
        <message>
            <source>{title} failed: {reason}</source>
            <translation>{title} fehlgeschlagen: {reason}</translation>
        </message>
        <message>
            <source>{title} is empty.</source>
            <translation>{title} ist leer.</translation>
        </message>
        <message>
            <source>{title} must be a finite number, not {value}.</source>
            <translation>{title} muss eine endliche Zahl sein, nicht {value}.</translation>
        </message>
        <message>
            <source>{title} ran out of memory.</source>
            <translation>{title}: der Speicher hat nicht gereicht.</translation>
        </message>
        <message>
            <source>{title}: at least one is needed.</source>
            <translation>{title}: Mindestens eines wird gebraucht.</translation>
        </message>
        <message>
            <source>{title}: {reward}</source>
            <translation>{title}: {reward}</translation>
        </message>
        <message>
            <source>{title}: {value} can't be used.</source>
            <translation>{title}: {value} kann nicht verwendet werden.</translation>
        </message>
        <message>
            <source>{title}: {value} is neither true nor false.</source>
            <translation>{title}: {value} ist weder wahr noch falsch.</translation>
        </message>
        <message>
            <source>{title}: {value} is too large.</source>
            <translation>{title}: {value} ist zu groß.</translation>
        </message>
        <message>
            <source>{title}: {value} is too small.</source>
            <translation>{title}: {value} ist zu klein.</translation>
        </message>
        <message>
            <source>{title}: {value} isn't a list.</source>
            <translation>{title}: {value} ist keine Liste.</translation>
        </message>
        <message>
            <source>{title}: {value} isn't a number.</source>
            <translation>{title}: {value} ist keine Zahl.</translation>
        </message>
        <message>
            <source>{title}: {value} isn't a whole number.</source>
            <translation>{title}: {value} ist keine ganze Zahl.</translation>
        </message>
        <message>
            <source>{title}: {value} isn't one of the choices.</source>
            <translation>{title}: {value} gehört nicht zur Auswahl.</translation>
        </message>
        <message>
            <source>{title}: {value} isn't text.</source>
            <translation>{title}: {value} ist kein Text.</translation>
        </message>
        <message>
            <source>{title}: “{value}” {fault}.</source>
            <translation>{title}: „{value}“ {fault}.</translation>
        </message>
        <message>
            <source>{tokens} tokens per epoch</source>
            <translation>{tokens} Tokens je Epoche</translation>
        </message>
        <message>
            <source>{token} is already a token of the model.</source>
            <translation>{token} ist bereits ein Token des Modells.</translation>
        </message>
        <message>
            <source>{tool} doesn't know the pre-tokenizer of this model, so it can't be exported as a GGUF file for Ollama, LM Studio, or llama.cpp.</source>
            <translation>{tool} kennt den Pre-Tokenizer dieses Modells nicht. Deshalb lässt es sich nicht als GGUF-Datei für Ollama, LM Studio oder llama.cpp exportieren.</translation>
        </message>
        <message>
            <source>{tracker} is selected as an experiment tracker but isn't installed.</source>
            <translation>{tracker} ist als Experiment-Tracker gewählt, aber nicht installiert.</translation>
        </message>
        <message>
            <source>{tracker} stopped receiving metrics: {reason}.</source>
            <translation>{tracker} nimmt keine Metriken mehr an: {reason}.</translation>
        </message>
        <message>
            <source>{trainable} parameters ({share})</source>
            <translation>{trainable} Parameter ({share})</translation>
        </message>
        <message>
            <source>{trained} of {total} parameters are trainable ({share}); adapter weights: {size}</source>
            <translation>{trained} von {total} Parametern sind trainierbar ({share}); Adaptergewichte: {size}</translation>
        </message>
        <message>
            <source>{train} training rows, {validation} validation rows</source>
            <translation>{train} Zeilen zum Trainieren, {validation} zum Validieren</translation>
        </message>
        <message>
            <source>{used} of {rows} rows checked ({share:percent})</source>
            <translation>{used} von {rows} geprüften Zeilen ({share:percent})</translation>
        </message>
        <message>
            <source>{used} of {total}</source>
            <translation>{used} von {total}</translation>
        </message>
        <message>
            <source>{used} of {total} memory used</source>
            <translation>{used} von {total} Speicher belegt</translation>
        </message>
        <message>
            <source>{verdict} For example, {details}.</source>
            <translation>{verdict} Zum Beispiel: {details}.</translation>
        </message>
        <message>
            <source>{weights} · fits with reduced memory use</source>
            <translation>{weights} · passt mit reduziertem Speicherbedarf</translation>
        </message>
        <message>
            <source>{weights} ⚠ training needs {memory}</source>
            <translation>{weights} ⚠ Training braucht {memory}</translation>
        </message>
        <message>
            <source>{weights} ✓ fits</source>
            <translation>{weights} ✓ passt</translation>
        </message>
        <message>
            <source>{what} The queue continues with the next run.</source>
            <translation>{what} Die Warteschlange macht mit dem nächsten Lauf weiter.</translation>
        </message>
        <message>
            <source>{wheel} in the wheel folder is damaged: {reason}.</source>
            <translation>{wheel} im Wheel-Ordner ist beschädigt: {reason}.</translation>
        </message>
        <message>
            <source>{why} The teacher continues with micro-batches of {size}.</source>
            <translation>{why} Der Lehrer macht mit Mikro-Batches der Größe {size} weiter.</translation>
        </message>
        <message>
            <source>{why} Training continues after step {step} with micro-batches of {micro_batch} and gradient checkpointing; the effective batch size stays the same.</source>
            <translation>{why} Das Training läuft nach Schritt {step} mit Mikro-Batches von {micro_batch} und Gradient Checkpointing weiter; die effektive Batch-Größe bleibt gleich.</translation>
        </message>
        <message>
            <source>{why} Training continues after step {step} with micro-batches of {micro_batch}; the effective batch size stays the same.</source>
            <translation>{why} Das Training läuft nach Schritt {step} mit Mikro-Batches von {micro_batch} weiter; die effektive Batch-Größe bleibt gleich.</translation>
        </message>
        <message>
            <source>{why} Training continues after step {step}. Short rows no longer share larger micro-batches; the effective batch size stays the same.</source>
            <translation>{why} Das Training läuft nach Schritt {step} weiter. Kurze Zeilen teilen sich keine größeren Mikro-Batches mehr; die effektive Batch-Größe bleibt gleich.</translation>
        </message>
        <message>
            <source>“{chosen}” is used as the preferred answer where the preference is negative, and “{rejected}” where it is positive.</source>
            <translation>„{chosen}“ gilt als bevorzugte Antwort, wo die Bewertung negativ ist, „{rejected}“, wo sie positiv ist.</translation>
        </message>
        <message>
            <source>“{column}” contains two answers to each prompt. The first one is used as the preferred answer.</source>
            <translation>„{column}“ enthält zwei Antworten zu jedem Prompt. Die erste gilt als die bevorzugte.</translation>
        </message>
        <message>
            <source>“{column}” is used as votes on the answers: {good} good and {bad} bad in {rows} rows checked. Training makes good answers likelier and bad ones less likely (KTO).</source>
            <translation>„{column}“ wird als Bewertung der Antworten verwendet: {good} gute und {bad} schlechte in {rows} geprüften Zeilen. Das Training macht gute Antworten wahrscheinlicher und schlechte unwahrscheinlicher (KTO).</translation>
        </message>
        <message>
            <source>“{column}” is used as {slot}</source>
            <translation>„{column}“ wird als {slot} verwendet</translation>
        </message>
        <message>
            <source>“{column}” judges {voted} of {rows} answers checked, {bad} of them as bad. All answers are trained as good ones, whatever it says.</source>
            <translation>„{column}“ bewertet {voted} von {rows} geprüften Antworten, {bad} davon als schlecht. Alle Antworten werden trotzdem als gute trainiert.</translation>
        </message>
        <message>
            <source>“{column}” refers to other rows, but joining them into conversations would need too much disk space. Each row is read by itself.</source>
            <translation>„{column}“ verweist auf andere Zeilen, aber sie zu Gesprächen zu verbinden würde zu viel Speicherplatz brauchen. Jede Zeile wird für sich gelesen.</translation>
        </message>
        <message>
            <source>“{column}” refers to other rows, but most of the references are circular. Each row is read by itself.</source>
            <translation>„{column}“ verweist auf andere Zeilen, aber die meisten Verweise bilden einen Kreis. Jede Zeile wird für sich gelesen.</translation>
        </message>
        <message>
            <source>“{column}” refers to other rows, but rows of this format can't be joined into conversations. Each row is read by itself.</source>
            <translation>„{column}“ verweist auf andere Zeilen, aber Zeilen dieses Formats lassen sich nicht zu Gesprächen verbinden. Jede Zeile wird für sich gelesen.</translation>
        </message>
        <message>
            <source>“{common}” is the label of {most} of {total}. Rare labels: {rare} ({rows}). Add rows with rare labels, or set “Label weights” on the Train page to “Balanced”.</source>
            <translation>„{common}“ ist das Label von {most} von {total}. Seltene Labels: {rare} ({rows}). Fügen Sie Zeilen mit seltenen Labels hinzu oder stellen Sie „Gewichte der Labels“ auf der Seite „Training“ auf „Ausgewogen“.</translation>
        </message>
        <message>
            <source>“{label}” for “{usual}”</source>
            <translation>„{label}“ statt „{usual}“</translation>
        </message>
        <message>
            <source>“{name}”</source>
            <translation>„{name}“</translation>
        </message>
        <message>
            <source>“{name}” hasn't been opened here before. Open it only if you expect what it asks for. None of this has happened yet.</source>
            <translation>„{name}“ wurde hier noch nie geöffnet. Öffnen Sie es nur, wenn Sie erwarten, was es verlangt. Noch ist nichts davon geschehen.</translation>
        </message>
        <message>
            <source>“{name}” was changed outside of LoRA Studio. It now also asks for the following. None of this has happened yet.</source>
            <translation>„{name}“ wurde außerhalb von LoRA Studio geändert und verlangt jetzt zusätzlich Folgendes. Noch ist nichts davon geschehen.</translation>
        </message>
        <message>
            <source>“{name}” was created by someone else or on another computer. Allow it only if you expect what it asks for. None of this has happened yet.</source>
            <translation>„{name}“ wurde von jemand anderem oder auf einem anderen Computer erstellt. Erlauben Sie nur, was Sie erwarten. Nichts davon ist bisher geschehen.</translation>
        </message>
        <message>
            <source>“{name}” writes in none of the conversations.</source>
            <translation>„{name}“ schreibt in keiner der Unterhaltungen.</translation>
        </message>
        <message>
            <source>“{repository}” is not a valid repository name.</source>
            <translation>„{repository}“ ist kein gültiger Repository-Name.</translation>
        </message>
        <message>
            <source>“{slot}” contains no answer</source>
            <translation>„{slot}“ enthält keine Antwort</translation>
        </message>
        <message>
            <source>“{slot}” is empty</source>
            <translation>„{slot}“ ist leer</translation>
        </message>
        <message>
            <source>“{slot}” is missing</source>
            <translation>„{slot}“ fehlt</translation>
        </message>
        <message>
            <source>“{title}”</source>
            <translation>„{title}“</translation>
        </message>
        <message>
            <source>“{token}”</source>
            <translation>„{token}“</translation>
        </message>
        <message>
            <source>“{weight}” isn't a weight.</source>
            <translation>„{weight}“ ist kein Gewicht.</translation>
        </message>
        <message>
            <source>⚠ Behaves as trained, with some quality loss.</source>
            <translation>⚠ Verhält sich wie trainiert, mit etwas Qualitätsverlust.</translation>
        </message>
        <message>
            <source>⚠ Export stopped unexpectedly</source>
            <translation>⚠ Der Export wurde unerwartet beendet</translation>
        </message>
        <message>
            <source>⚠ Merging stopped unexpectedly</source>
            <translation>⚠ Das Zusammenführen wurde unerwartet beendet</translation>
        </message>
        <message>
            <source>⚠ Needs about {total}, but only {available} is available on {device}.</source>
            <translation>⚠ Benötigt etwa {total}, auf {device} sind aber nur {available} verfügbar.</translation>
        </message>
        <message>
            <source>⚠ The Ollama model is out of date</source>
            <translation>⚠ Das Ollama-Modell ist veraltet</translation>
        </message>
        <message>
            <source>⚠ The exported files are out of date</source>
            <translation>⚠ Die exportierten Dateien sind veraltet</translation>
        </message>
        <message>
            <source>⚠ The files behave like what you trained. The details say what isn't verified about the prompts of the Ollama server.</source>
            <translation>⚠ Die Dateien verhalten sich wie trainiert. Die Details sagen, was an den Prompts des Ollama-Servers nicht nachgewiesen ist.</translation>
        </message>
        <message>
            <source>⚠ The files behave like what you trained. The vectors of the Ollama server weren't compared.</source>
            <translation>⚠ Die Dateien verhalten sich wie trainiert. Die Vektoren des Ollama-Servers wurden nicht verglichen.</translation>
        </message>
        <message>
            <source>⚠ The merged model is out of date</source>
            <translation>⚠ Das zusammengeführte Modell ist veraltet</translation>
        </message>
        <message>
            <source>⚠ Training stopped unexpectedly</source>
            <translation>⚠ Das Training wurde unerwartet beendet</translation>
        </message>
        <message>
            <source>✓ Behaves as trained, and Ollama builds the same prompts.</source>
            <translation>✓ Verhält sich wie trainiert, und Ollama bildet die gleichen Prompts.</translation>
        </message>
        <message>
            <source>✓ Behaves as trained, and Ollama gives the same vectors.</source>
            <translation>✓ Verhält sich wie trainiert, und Ollama liefert die gleichen Vektoren.</translation>
        </message>
        <message>
            <source>✓ Behaves as trained.</source>
            <translation>✓ Verhält sich wie trainiert.</translation>
        </message>
        <message>
            <source>✓ Connected to Ollama {version} at {host}.</source>
            <translation>✓ Mit Ollama {version} unter {host} verbunden.</translation>
        </message>
        <message>
            <source>✓ Connected to Ollama {version} at {host}. The existing model with this name will be replaced.</source>
            <translation>✓ Mit Ollama {version} unter {host} verbunden. Das vorhandene Modell mit diesem Namen wird ersetzt.</translation>
        </message>
        <message>
            <source>✓ Created {name} in Ollama {version}</source>
            <translation>✓ {name} in Ollama {version} erstellt</translation>
        </message>
        <message>
            <source>✓ Created {name} in Ollama {version}; export took {time}</source>
            <translation>✓ {name} in Ollama {version} erstellt; der Export dauerte {time}</translation>
        </message>
        <message>
            <source>✓ Exported in {time}</source>
            <translation>✓ In {time} exportiert</translation>
        </message>
        <message>
            <source>✓ Merged</source>
            <translation>✓ Zusammengeführt</translation>
        </message>
        <message>
            <source>✓ Needs about {total} of the {available} available on {device}.</source>
            <translation>✓ Benötigt etwa {total} von {available}, die auf {device} verfügbar sind.</translation>
        </message>
        <message>
            <source>✓ Ready at {address}, serving {model}</source>
            <translation>✓ Bereit unter {address}: {model}</translation>
        </message>
        <message>
            <source>✓ TEMPLATE for Ollama before 0.30: derived from the chat template and verified by rendering {conversations}. Ollama 0.30 and later use the chat template in the GGUF file.</source>
            <translation>✓ TEMPLATE für Ollama vor 0.30: aus der Chat-Vorlage abgeleitet und durch Rendern geprüft ({conversations}). Ollama ab 0.30 verwendet die Chat-Vorlage in der GGUF-Datei.</translation>
        </message>
        <message>
            <source>✓ Verified for Ollama before 0.30, by rendering {conversations}</source>
            <translation>✓ Für Ollama vor 0.30 durch Rendern geprüft ({conversations})</translation>
        </message>
        <message>
            <source>✓ {files} uploaded to {repository}.</source>
            <translation>✓ {files} nach {repository} hochgeladen.</translation>
        </message>
        <message>
            <source>✗ Differs from what you trained. The details say where.</source>
            <translation>✗ Weicht vom Trainierten ab. Die Details sagen, wo.</translation>
        </message>
        <message>
            <source>✗ Not verified: {reason}</source>
            <translation>✗ Nicht geprüft: {reason}</translation>
        </message>
        <message>
            <source>✗ Only {free} is available.</source>
            <translation>✗ Nur {free} verfügbar.</translation>
        </message>
        <message>
            <source>✗ The TEMPLATE renders different text than the chat template: {difference}</source>
            <translation>✗ Das TEMPLATE erzeugt anderen Text als die Chat-Vorlage: {difference}</translation>
        </message>
        <message>
            <source>✗ {needed} required, only {free} available</source>
            <translation>✗ {needed} benötigt, nur {free} verfügbar</translation>
        </message>
    </context>
</TS>
