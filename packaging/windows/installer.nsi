; Installer for Windows, for one user and without administrator rights. Compiles on Linux too.
;   makensis -DVERSION=0.1.0 -DBUNDLE=folder\lora-studio -DICONS=folder -DLICENCE=LICENSE -DOUT=setup.exe
;     "-DPUBLISHER=name" -DHOME_PAGE=address installer.nsi
; BUNDLE is what freeze.py makes on Windows, ICONS holds its .ico files; identity.py has the last two.
Unicode true
Target amd64-unicode
!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include WinVer.nsh

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

!define MUI_ICON "${ICONS}/lora-studio.ico"
!define MUI_UNICON "${ICONS}/lora-studio.ico"
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

LangString RUNNING ${LANG_ENGLISH} "${NAME} is running. Close it, then try again."
LangString RUNNING ${LANG_GERMAN} "${NAME} läuft. Schließen Sie es und versuchen Sie es noch einmal."
LangString TOO_OLD ${LANG_ENGLISH} "${NAME} needs 64-bit Windows 10 or newer."
LangString TOO_OLD ${LANG_GERMAN} "${NAME} braucht ein 64-Bit-Windows ab Version 10."
LangString ENGINE ${LANG_ENGLISH} "Remove the training engine and downloaded files too?$\n$\nThey take several GB and can be downloaded again. Your projects, your models and the models in Ollama stay."
LangString ENGINE ${LANG_GERMAN} "Auch die Trainings-Engine und heruntergeladene Dateien entfernen?$\n$\nSie belegen mehrere GB und lassen sich wieder herunterladen. Ihre Projekte, Ihre Modelle und die Modelle in Ollama bleiben."
LangString MODELS ${LANG_ENGLISH} "Remove the sample projects and your preferences too?$\n$\nThe adapters and models that were trained in the sample projects are lost. Projects in folders of your own stay."
LangString MODELS ${LANG_GERMAN} "Auch die Beispielprojekte und Ihre Einstellungen entfernen?$\n$\nDie in den Beispielprojekten trainierten Adapter und Modelle gehen verloren. Projekte in eigenen Ordnern bleiben."

; Files of a running program cannot be replaced: the attempt to open them for writing tells.
!macro STOP_WHILE_RUNNING
  ${If} ${FileExists} "$INSTDIR\LoRA Studio.exe"
    ClearErrors
    FileOpen $0 "$INSTDIR\LoRA Studio.exe" a
    ${If} ${Errors}
      MessageBox MB_OK|MB_ICONEXCLAMATION "$(RUNNING)" /SD IDOK
      Abort
    ${EndIf}
    FileClose $0
  ${EndIf}
!macroend

Function .onInit
  ${IfNot} ${AtLeastWin10}
    MessageBox MB_OK|MB_ICONSTOP "$(TOO_OLD)" /SD IDOK
    Abort
  ${EndIf}
FunctionEnd

Section
  SetShellVarContext current
  !insertmacro STOP_WHILE_RUNNING
  ; An update takes the place of what was there: no file of an older version stays behind.
  RMDir /r "$INSTDIR\_internal"
  SetOutPath "$INSTDIR"
  File /r "${BUNDLE}/*"
  File "${ICONS}/lora-studio-project.ico"
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

Section "Uninstall"
  SetShellVarContext current
  !insertmacro STOP_WHILE_RUNNING
  ; Without a person to ask (/S) what was made and downloaded stays.
  StrCpy $0 "engine"
  MessageBox MB_YESNO|MB_ICONQUESTION|MB_DEFBUTTON2 "$(ENGINE)" /SD IDNO IDNO keep_engine
    StrCpy $0 ""
    RMDir /r "$LOCALAPPDATA\lora-studio\engine"
    Delete "$LOCALAPPDATA\lora-studio\engine-folder.txt"
    RMDir /r "$LOCALAPPDATA\lora-studio\Cache"
    RMDir /r "$LOCALAPPDATA\lora-studio\Logs"
  keep_engine:
  MessageBox MB_YESNO|MB_ICONQUESTION|MB_DEFBUTTON2 "$(MODELS)" /SD IDNO IDNO keep_models
    ; An engine that is to stay lies in the same folder, or the note beside it says where it is.
    FindFirst $1 $2 "$LOCALAPPDATA\lora-studio\*"
    ${DoWhile} $2 != ""
      ${If} $2 == "."
      ${OrIf} $2 == ".."
        Nop
      ${ElseIf} $0 == "engine"
      ${AndIf} $2 == "engine"
        Nop
      ${ElseIf} $0 == "engine"
      ${AndIf} $2 == "engine-folder.txt"
        Nop
      ${ElseIf} ${FileExists} "$LOCALAPPDATA\lora-studio\$2\*"
        RMDir /r "$LOCALAPPDATA\lora-studio\$2"
      ${Else}
        Delete "$LOCALAPPDATA\lora-studio\$2"
      ${EndIf}
      FindNext $1 $2
    ${Loop}
    FindClose $1
  keep_models:
  RMDir "$LOCALAPPDATA\lora-studio"

  RMDir /r "$INSTDIR\_internal"
  Delete "$INSTDIR\LoRA Studio.exe"
  Delete "$INSTDIR\lora-studio.exe"
  Delete "$INSTDIR\lora-studio-project.ico"
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
