# Builds the Windows installer: powershell packaging\windows\build.ps1 [-Out dist]
# Needs Python 3.11 to 3.13 for Windows and NSIS 3 (its folder on the path). Run it in a checkout.
param([string]$Out = "dist")
$ErrorActionPreference = "Stop"
Set-Location (Join-Path $PSScriptRoot "..\..")

function Invoke-Checked {
    $program, $rest = $args
    & $program @rest
    if ($LASTEXITCODE -ne 0) { throw "$program ended with status $LASTEXITCODE." }
}

if (Test-Path $Out) { Remove-Item -Recurse -Force $Out }
New-Item -ItemType Directory $Out | Out-Null
$Out = (Resolve-Path $Out).Path
Invoke-Checked python -m venv "$Out\venv"
$python = "$Out\venv\Scripts\python.exe"
Invoke-Checked $python -m pip install --quiet ".[packaging]"
Invoke-Checked $python packaging\freeze.py "$Out\frozen"
$version = & $python -c "import lora_studio; print(lora_studio.__version__)"
$publisher = & $python packaging\identity.py DEVELOPER
$homePage = & $python packaging\identity.py HOME_PAGE
Invoke-Checked makensis "-V2" "-WX" "-INPUTCHARSET" UTF8 "-DVERSION=$version" "-DBUNDLE=$Out\frozen\lora-studio" `
    "-DICONS=$Out\frozen\work" "-DLICENCE=$PWD\LICENSE" "-DOUT=$Out\LoRA-Studio-$version-setup.exe" `
    "-DPUBLISHER=$publisher" "-DHOME_PAGE=$homePage" `
    packaging\windows\installer.nsi
if ($env:SIGN_CERTIFICATE) {
    # Thumbprint of a certificate in the store, and the URL of a timestamp server (RFC 3161).
    Invoke-Checked signtool sign /sha1 $env:SIGN_CERTIFICATE /fd SHA256 /td SHA256 `
        /tr $env:SIGN_TIMESTAMP "$Out\LoRA-Studio-$version-setup.exe"
}
Get-ChildItem "$Out\*.exe"
