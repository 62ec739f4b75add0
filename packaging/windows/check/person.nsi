; Stands in for the person before a wizard: presses its first button whenever that can be pressed, and
; answers questions. Ends once a file `done` lies beside it and no window is left; writes each question into `questions` there.
;   person.exe yn        yes to the first question, no to the second
;   makensis -DOUT=person.exe person.nsi
Unicode true
Target amd64-unicode
Name "person"
OutFile "${OUT}"
SilentInstall silent
RequestExecutionLevel user
!include FileFunc.nsh
!include LogicLib.nsh
!include WinMessages.nsh

!define BUTTON_NEXT 1
!define BUTTON_YES 6
!define BUTTON_NO 7
!define TEXT_OF_MESSAGE 65535

Var answers
Var window
Var control
Var seen

!macro PRESS BUTTON
  System::Call 'user32::PostMessageW(p $window, i ${WM_COMMAND}, p ${BUTTON}, p 0)'
!macroend

Function Answer
  System::Call 'user32::GetDlgItemTextW(p $window, i ${TEXT_OF_MESSAGE}, w .r0, i 1000)'
  FileOpen $1 "$EXEDIR\questions" a
  FileSeek $1 0 END
  FileWriteUTF16LE $1 "$0$\n"
  FileClose $1
  StrCpy $0 $answers 1
  StrCpy $answers $answers "" 1
  ${If} $0 == "y"
    !insertmacro PRESS ${BUTTON_YES}
  ${Else}
    !insertmacro PRESS ${BUTTON_NO}
  ${EndIf}
  ; One answer to one question.
  ${Do}
    Sleep 50
    System::Call 'user32::IsWindow(p $window) i .r0'
  ${LoopUntil} $0 = 0
  StrCpy $window 0
FunctionEnd

Section
  ${GetParameters} $answers
  ${Do}
    Sleep 200
    StrCpy $seen 0
    StrCpy $window 0
    ${Do}
      FindWindow $window "#32770" "" 0 $window
      ${If} $window = 0
        ${Break}
      ${EndIf}
      StrCpy $seen 1
      ; A window without its texts isn't shown yet.
      System::Call 'user32::IsWindowVisible(p $window) i .r0'
      ${If} $0 = 0
        ${Continue}
      ${EndIf}
      GetDlgItem $control $window ${BUTTON_YES}
      ${If} $control <> 0
        Call Answer
        ${Continue}
      ${EndIf}
      GetDlgItem $control $window ${BUTTON_NEXT}
      System::Call 'user32::IsWindowEnabled(p $control) i .r0'
      ${If} $control <> 0
      ${AndIf} $0 <> 0
        !insertmacro PRESS ${BUTTON_NEXT}
      ${EndIf}
    ${Loop}
    ${If} $seen = 0
    ${AndIf} ${FileExists} "$EXEDIR\done"
      ${Break}
    ${EndIf}
  ${Loop}
SectionEnd
