; Installer for Windows, for one user and without administrator rights. Compiles on Linux too.
;   makensis -DVERSION=0.2.0 -DBUNDLE=folder\lora-studio -DICONS=folder -DLICENCE=LICENSE -DOUT=setup.exe
;     "-DPUBLISHER=name" -DHOME_PAGE=address installer.nsi
; BUNDLE is what freeze.py makes on Windows, ICONS holds its .ico files; identity.py has the last two.
; The uninstaller's switches are told at its section.
;
; Paths are written with backslashes: `File` takes no others on Windows, and every command takes them on Linux.
Unicode true
; NSIS as its own project publishes it for Windows has 32-bit stubs alone, Debian's has both.
!if /FileExists "${NSISDIR}\Stubs\lzma_solid-amd64-unicode"
  Target amd64-unicode
!else
  Target x86-unicode
!endif
!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include WinVer.nsh
!include x64.nsh

!define NAME "LoRA Studio"
!define KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\LoRAStudio"
!define TYPE "LoRAStudio.Project"

Name "${NAME}"
OutFile "${OUT}"
InstallDir "$LOCALAPPDATA\Programs\${NAME}"
InstallDirRegKey HKCU "${KEY}" "InstallLocation"
RequestExecutionLevel user
SetCompressor /SOLID lzma
ManifestDPIAware true
ManifestLongPathAware true
BrandingText "${NAME} ${VERSION}"
VIProductVersion "${VERSION}.0"
VIAddVersionKey "ProductName" "${NAME}"
VIAddVersionKey "ProductVersion" "${VERSION}"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "FileDescription" "${NAME} installer"
VIAddVersionKey "LegalCopyright" "${PUBLISHER}, Apache License 2.0"

!define MUI_ICON "${ICONS}\lora-studio.ico"
!define MUI_UNICON "${ICONS}\lora-studio.ico"
!define MUI_ABORTWARNING
!define MUI_FINISHPAGE_RUN "$INSTDIR\LoRA Studio.exe"
!insertmacro MUI_PAGE_LICENSE "${LICENCE}"
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"
!insertmacro MUI_LANGUAGE "German"

LangString RUNNING ${LANG_ENGLISH} "${NAME} is running. Close it and try again."
LangString RUNNING ${LANG_GERMAN} "${NAME} läuft. Schließen Sie die App und versuchen Sie es erneut."
LangString TOO_OLD ${LANG_ENGLISH} "${NAME} requires 64-bit Windows 10 or later."
LangString TOO_OLD ${LANG_GERMAN} "${NAME} benötigt Windows 10 oder neuer (64 Bit)."
LangString ENGINE_IN_USE ${LANG_ENGLISH} "The engine is in use, for example by a training run that continues without a window, so it was not removed. It is in $LOCALAPPDATA\lora-studio."
LangString ENGINE_IN_USE ${LANG_GERMAN} "Die Engine wird gerade verwendet, zum Beispiel von einem Training, das ohne Fenster weiterläuft. Sie wurde deshalb nicht entfernt und liegt in $LOCALAPPDATA\lora-studio."
LangString ENGINE ${LANG_ENGLISH} "Also remove the engine and downloaded files?$\n$\nThey use several GB and can be downloaded again. Your projects, your models, and the models in Ollama are kept."
LangString ENGINE ${LANG_GERMAN} "Auch die Engine und heruntergeladene Dateien entfernen?$\n$\nSie belegen mehrere GB und lassen sich wieder herunterladen. Ihre Projekte, Ihre Modelle und die Modelle in Ollama bleiben erhalten."
LangString MODELS ${LANG_ENGLISH} "Also remove the sample projects and your preferences?$\n$\nAdapters and models trained in the sample projects will be lost. Projects in other folders are kept."
LangString MODELS ${LANG_GERMAN} "Auch die Beispielprojekte und Ihre Einstellungen entfernen?$\n$\nDie in den Beispielprojekten trainierten Adapter und Modelle gehen verloren. Projekte in anderen Ordnern bleiben erhalten."

; Sets RESULT to "yes" where the program runs: its file cannot be opened for writing then.
!macro NOTE_WHETHER_RUNNING RESULT FILE
  ${If} ${FileExists} "${FILE}"
    ClearErrors
    FileOpen $0 "${FILE}" a
    ${If} ${Errors}
      StrCpy ${RESULT} "yes"
    ${Else}
      FileClose $0
    ${EndIf}
  ${EndIf}
!macroend

; Files of a running program cannot be replaced.
!macro STOP_WHILE_RUNNING
  StrCpy $1 "no"
  !insertmacro NOTE_WHETHER_RUNNING $1 "$INSTDIR\LoRA Studio.exe"
  !insertmacro NOTE_WHETHER_RUNNING $1 "$INSTDIR\lora-studio.exe"
  ${If} $1 == "yes"
    MessageBox MB_OK|MB_ICONEXCLAMATION "$(RUNNING)" /SD IDOK
    Abort
  ${EndIf}
!macroend

; Answers a question with a switch of the command line, by asking, or with no: "yes" or "no" in RESULT.
!macro ASK RESULT QUESTION SWITCH
  StrCpy ${RESULT} "yes"
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "${SWITCH}" $1
  ${If} ${Errors}
  ${AndIf} ${Cmd} `MessageBox MB_YESNO|MB_ICONQUESTION|MB_DEFBUTTON2 "${QUESTION}" /SD IDNO IDNO`
    StrCpy ${RESULT} "no"
  ${EndIf}
!macroend

; What an installation puts into its folder, but for the uninstaller.
!macro REMOVE_PROGRAM
  RMDir /r "$INSTDIR\_internal"
  Delete "$INSTDIR\LoRA Studio.exe"
  Delete "$INSTDIR\lora-studio.exe"
  Delete "$INSTDIR\lora-studio-project.ico"
!macroend

Function .onInit
  ${IfNot} ${AtLeastWin10}
  ${OrIfNot} ${RunningX64}
    MessageBox MB_OK|MB_ICONSTOP "$(TOO_OLD)" /SD IDOK
    Abort
  ${EndIf}
FunctionEnd

; An installation, or an update of one. With /S nobody is asked; `/D=FOLDER`, as the last and without
; quotes, names another folder. Ends with 2 while the program runs.
Section
  SetShellVarContext current
  !insertmacro STOP_WHILE_RUNNING
  ; An update takes the place of what was there: no file of an older version stays behind. A folder of
  ; the same name that no installation made is somebody else's.
  ${If} ${FileExists} "$INSTDIR\LoRA Studio.exe"
    !insertmacro REMOVE_PROGRAM
  ${EndIf}
  SetOutPath "$INSTDIR"
  File /r "${BUNDLE}\*"
  File "${ICONS}\lora-studio-project.ico"
  WriteUninstaller "$INSTDIR\Uninstall.exe"
  CreateShortcut "$SMPROGRAMS\${NAME}.lnk" "$INSTDIR\LoRA Studio.exe"

  WriteRegStr HKCU "Software\Classes\.lorastudio" "" "${TYPE}"
  WriteRegStr HKCU "Software\Classes\.lorastudio" "PerceivedType" "text"
  WriteRegStr HKCU "Software\Classes\${TYPE}" "" "${NAME} project"
  WriteRegStr HKCU "Software\Classes\${TYPE}\DefaultIcon" "" "$INSTDIR\lora-studio-project.ico"
  WriteRegStr HKCU "Software\Classes\${TYPE}\shell\open\command" "" '"$INSTDIR\LoRA Studio.exe" "%1"'
  WriteRegStr HKCU "Software\Microsoft\Windows\CurrentVersion\App Paths\lora-studio.exe" "" "$INSTDIR\lora-studio.exe"

  WriteRegStr HKCU "${KEY}" "DisplayName" "${NAME}"
  WriteRegStr HKCU "${KEY}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKCU "${KEY}" "DisplayIcon" "$INSTDIR\LoRA Studio.exe"
  WriteRegStr HKCU "${KEY}" "Publisher" "${PUBLISHER}"
  WriteRegStr HKCU "${KEY}" "URLInfoAbout" "${HOME_PAGE}"
  WriteRegStr HKCU "${KEY}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKCU "${KEY}" "UninstallString" '"$INSTDIR\Uninstall.exe"'
  WriteRegStr HKCU "${KEY}" "QuietUninstallString" '"$INSTDIR\Uninstall.exe" /S'
  WriteRegDWORD HKCU "${KEY}" "NoModify" 1
  WriteRegDWORD HKCU "${KEY}" "NoRepair" 1
  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  IntFmt $0 "0x%08X" $0
  WriteRegDWORD HKCU "${KEY}" "EstimatedSize" "$0"
  System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)'
SectionEnd

Var removeEngine
Var removeSamples

; A training goes on without a window: half of its engine would be gone, the files in use left over.
Function un.KeepEngineInUse
  StrCpy $4 "no"
  FindFirst $1 $2 "$3\engine\engines\*"
  ${DoWhile} $2 != ""
    !insertmacro NOTE_WHETHER_RUNNING $4 "$3\engine\engines\$2\venv\Scripts\python.exe"
    FindNext $1 $2
  ${Loop}
  FindClose $1
  ${If} $4 == "yes"
    StrCpy $removeEngine "no"
    MessageBox MB_OK|MB_ICONEXCLAMATION "$(ENGINE_IN_USE)" /SD IDOK
  ${EndIf}
FunctionEnd

; With /S nobody is asked, and what was made and downloaded stays. Switches answer the two questions with
; yes: /REMOVE_ENGINE and /REMOVE_SAMPLES.
Section "Uninstall"
  SetShellVarContext current
  !insertmacro STOP_WHILE_RUNNING
  !insertmacro ASK $removeEngine "$(ENGINE)" "/REMOVE_ENGINE"
  !insertmacro ASK $removeSamples "$(MODELS)" "/REMOVE_SAMPLES"
  StrCpy $3 "$LOCALAPPDATA\lora-studio"

  ${If} $removeEngine == "yes"
    Call un.KeepEngineInUse
  ${EndIf}
  ${If} $removeEngine == "yes"
    RMDir /r "$3\engine"
    Delete "$3\engine-folder.txt"
    RMDir /r "$3\Cache"
    RMDir /r "$3\Logs"
  ${EndIf}
  ${If} $removeSamples == "yes"
    ; An engine that is to stay lies in the same folder, or the note beside it says where it is.
    FindFirst $1 $2 "$3\*"
    ${DoWhile} $2 != ""
      ${If} $2 == "."
      ${OrIf} $2 == ".."
        Nop
      ${ElseIf} $removeEngine == "no"
      ${AndIf} $2 == "engine"
        Nop
      ${ElseIf} $removeEngine == "no"
      ${AndIf} $2 == "engine-folder.txt"
        Nop
      ${ElseIf} ${FileExists} "$3\$2\*"
        RMDir /r "$3\$2"
      ${Else}
        Delete "$3\$2"
      ${EndIf}
      FindNext $1 $2
    ${Loop}
    FindClose $1
  ${EndIf}
  RMDir "$3"

  !insertmacro REMOVE_PROGRAM
  Delete "$INSTDIR\Uninstall.exe"
  RMDir "$INSTDIR"
  Delete "$SMPROGRAMS\${NAME}.lnk"
  ReadRegStr $0 HKCU "Software\Classes\.lorastudio" ""
  ${If} $0 == "${TYPE}"
    DeleteRegKey HKCU "Software\Classes\.lorastudio"
  ${EndIf}
  DeleteRegKey HKCU "Software\Classes\${TYPE}"
  DeleteRegKey HKCU "Software\Microsoft\Windows\CurrentVersion\App Paths\lora-studio.exe"
  DeleteRegKey HKCU "${KEY}"
  System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)'
SectionEnd
